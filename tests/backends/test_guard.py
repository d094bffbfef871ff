"""A stranger's backend that breaks while it works: whose it is, which method, what to do."""

import re
import traceback

import pytest

import attn
from attn.errors import AttnError, CaptureError, PluginError

CODE = """
from attn import hookimpl
from attn.backends import BackendSpec

@hookimpl
def attn_backends():
    return [BackendSpec("bad", "Bad", load)]

def broken(*arguments, **keywords):
    raise ZeroDivisionError("oops")

def load():
    from attn.backends.testing import FakeBackend
    class Bad(FakeBackend):
        def open(self, *arguments, **keywords):
            session = super().open(*arguments, **keywords)
            {change}
            return session
    return Bad()
"""
WRONG = {
    "return None": "open() gave None, expected a Session",
    "del session.info": "session.info gave None, expected a ModelInfo",
    "session.warnings = ()": "session.warnings gave (), expected a list",
    "session.complete = lambda request: None": "session.complete() gave None, expected a Request",
    "session.branches = lambda request: 'cond'": "session.branches() gave str, expected a tuple",
    "session.branches = lambda request: ()": "session.branches() gave (), expected a tuple or",
    "session.layers = lambda request: [{}]": "session.layers() gave {}, expected a tuple or list",
    "session.sequence = lambda *_: ()": "session.sequence() gave (), expected a Sequence",
    "session.generate = lambda *_: None": "session.generate() gave None, expected a tuple or list",
}


@pytest.fixture
def offer_bad(install):
    """Install a backend whose session is changed by a statement."""
    return lambda change: install("attn-bad", CODE.format(change=change))


@pytest.mark.parametrize(("change", "fact"), WRONG.items())
def test_wrong_answers(offer_bad, tmp_path, change, fact):
    """An answer of another type names package, member, what was expected, and what to do."""
    offer_bad(change)
    with pytest.raises(PluginError, match=re.escape(fact)) as caught:
        attn.capture("bad", "a cat", steps=2, out=tmp_path / "run")
    message = str(caught.value)
    assert message.startswith("backend 'bad' is from attn-bad 1.0: ")
    assert message.endswith("see plugins.md, else update or uninstall attn-bad")


def test_too_few_outputs(offer_bad, tmp_path):
    """Outputs are counted against the requests of the batch."""
    offer_bad("made = session.generate; session.generate = lambda *given: made(*given)[:1]")
    run = attn.capture("bad", "a cat", steps=2, seed=(1, 5), batch=2, out=tmp_path / "run")
    assert "session.generate() gave 1 outputs for 2 requests; give one for each" in run.warnings[0]


@pytest.mark.parametrize("method", ["complete", "layers", "check", "generate"])
def test_bugs_keep_their_traceback(offer_bad, tmp_path, method):
    """What a stranger's code raises is not hidden; a note says whose it is."""
    offer_bad(f"session.{method} = broken")
    with pytest.raises(ZeroDivisionError) as caught:
        attn.capture("bad", "a cat", steps=2, out=tmp_path / "run")
    assert re.search(
        r"It happened in broken\(\) \(attn_bad\.py:\d+\): backend 'bad' is from attn-bad 1\.0\. "
        r"Report it there, or update or uninstall attn-bad\.",
        "".join(traceback.format_exception(caught.value)),
    )


def test_announcements_that_do_not_fit(offer_bad, tmp_path):
    """Where the engine cannot follow, the author is told which tool finds the method."""
    offer_bad("made = session.generate; session.generate = lambda given, call: made(given, None)")
    with pytest.raises(CaptureError, match=r"without one forward .*check_backend"):
        attn.capture("bad", "a cat", steps=2, out=tmp_path / "run")


def test_open_with_other_arguments(install, tmp_path):
    """An `open` that does not take what is given to it is named, with the arguments to take."""
    install("attn-bad", CODE.format(change="").replace("*arguments, **keywords)", "source)", 2))
    with pytest.raises(PluginError, match=r"open\(\): TypeError: .*Backend\.open"):
        attn.capture("bad", "a cat", steps=2, out=tmp_path / "run")


def test_example_prompt_is_missing(install):
    """A backend without an example prompt is refused when it is loaded."""
    code = CODE.replace("return Bad()", "Bad.example_prompt = None; return Bad()")
    install("attn-bad", code.format(change=""))
    with pytest.raises(AttnError, match=r"attn-bad 1\.0: loading backend 'bad': example_prompt is"):
        attn.capture("bad", "a cat")


def test_errors_of_the_backend_itself_stay_as_they_are(offer_bad, tmp_path):
    """What a plugin refuses in its own words is not dressed up."""
    offer_bad("")
    with pytest.raises(AttnError) as caught:
        attn.capture("bad", "a cat", size=(13, 8), out=tmp_path / "run")
    assert str(caught.value) == "size 13x8: width and height must be divisible by 8"


def test_our_own_backends_are_not_blamed(install):
    """A bug of ours is no stranger's: it keeps its traceback and gets no note."""
    from attn.backends import find
    from attn.backends.guard import blamed

    with pytest.raises(ZeroDivisionError) as caught, blamed(find("sdxl")):
        raise ZeroDivisionError("oops")
    assert not hasattr(caught.value, "__notes__")
    with pytest.raises(CaptureError, match=r"^unseen$"), blamed(find("sdxl")):
        raise CaptureError("unseen")
