"""A stranger's backend that breaks while it works: whose it is, which method, what to do."""

import re
import traceback

import pytest

import attn
from attn.errors import AttnError, CaptureError, PluginError

CODE = """
from dataclasses import dataclass, replace
import numpy as np
import torch
from attn import hookimpl
from attn.backends import BackendSpec, Output, Session

@hookimpl
def attn_backends():
    return [BackendSpec("bad", "Bad", load)]

def broken(*arguments, **keywords):
    raise ZeroDivisionError("oops")

async def later(*arguments):
    return None

def load():
    from attn.backends.testing import FakeBackend
    class Bad(FakeBackend):
        def open(self, *arguments, **keywords):
            session = super().open(*arguments, **keywords)
            {change}
            return session
    {changed_class}
    return Bad()
"""
AFTER = {
    "layers": "made = session.layers; session.layers = lambda r: [{} for x in made(r)]",
    "sequence": "made = session.sequence; session.sequence = lambda *a: (lambda x: {})(made(*a))",
    "generate": "made = session.generate; session.generate = lambda *a: [{} for x in made(*a)]",
    "on_call": (
        "made = session.generate; session.generate = lambda r, call: made(r, lambda x: call({}))"
    ),
    "complete": "made = session.complete; session.complete = lambda r: (lambda x: {})(made(r))",
}
"""What changes an answer, or an announcement, `x` into an expression."""

WRONG = {
    "return None": "open(): got None, expected Session",
    "return object()": "open(): got type object, expected Session",
    "del session.info": "session.info: got None, expected ModelInfo",
    "session.info = replace(session.info, dtype=None)": "session.info.dtype: got None, expected",
    "session.info = replace(session.info, identity=lambda: None)": (
        "session.info.identity(): got None, expected dict[str, Any]"
    ),
    "session.warnings = 'slow'": "session.warnings: got 'slow', expected tuple[str, ...]",
    "session.remarks = lambda *_: [7]": "session.remarks()[0]: got 7, expected str",
    "session.complete = lambda request: None": "session.complete(): got None, expected Request",
    "session.branches = lambda request: 'cond'": "session.branches(): got 'cond', expected tuple",
    "session.branches = lambda request: ()": "session.branches(): it has (); if it is yours, put",
    "session.branches = lambda request: ('cond', 'cond')": "name each guidance row once",
    "session.towers = lambda: [torch.nn.Linear(2, 3)]": "session.towers(): got [Linear(in",
    "session.towers = lambda: {'denoiser': 3}": "session.towers()['denoiser']: got 3, expected M",
    "session.towers = dict": "session.towers(): got {}, expected a module by the name 'denoiser'",
    "session.layers = lambda request: [{}]": "session.layers()[0]: got {}, expected Layer",
    "session.layers = lambda request: ()": "session.layers(): got (), expected at least one Layer",
    "session.layers = lambda: ()": "give it the arguments of attn.backends.Session.layers",
    "session.layers = None": "session.layers(): TypeError: 'NoneType' object is not callable",
    "session.sequence = lambda *_: ()": "session.sequence(): got (), expected Sequence",
    "session.generate = lambda *_: None": "session.generate(): got None, expected list[Output]",
    "session.generate = lambda *_: (one for one in ())": "got type generator, expected list[Out",
    "session.generate = lambda *_: exit(3)": "session.generate(): SystemExit: 3; if it is yours",
    "session.generate = later": "session.generate(): got a coroutine (write def, not async def)",
    "session.check = later": "session.check(): got a coroutine (write def, not async def)",
    "session.check = lambda: True": "session.check(): got True, expected None",
}
WRONG_IN = {
    ("layers", "replace(x, num_heads=0)"): "session.layers(): layer 0 needs an index from 0, heads",
    ("layers", "replace(x, index=3)"): "indices are [3, 3, 3, 3, 3]; if it is yours, number them",
    (
        "layers",
        "replace(x, path='blocks.0.attend', tower='denoiser')",
    ): "blocks.0.attend is there tw",
    (
        "layers",
        "replace(x, path=x.path[1:])",
    ): "no module 'locks.0.attend'. Did you mean 'blocks.0.",
    ("layers", "replace(x, tower='unet')"): "is of tower 'unet', towers() has denoiser, controlnet",
    (
        "layers",
        "replace(x, kind='both')",
    ): "session.layers()[0].kind: got 'both', expected Literal[",
    ("layers", "replace(x, queries=x.queries[::-1])"): (
        "queries of layer 0: segment 'prompt' is 0 to 17, expected some positions from 94 on"
    ),
    (
        "layers",
        "replace(x, keys=[*x.keys])",
    ): "session.layers()[0].keys: got [Segment(name='prompt'",
    ("layers", "replace(x, keys=tuple(replace(one, start=one.start // 2) for one in x.keys))"): (
        "keys of layer 0: segment 'image' is 8 to 94, expected some positions from 17 on"
    ),
    ("layers", "replace(x, keys=tuple(replace(one, stop=None) for one in x.keys))"): (
        "session.layers()[0].keys[0].stop: got None, expected int"
    ),
    ("layers", "replace(x, keys=tuple(replace(one, grid=None) for one in x.keys))"): (
        "session.layers(): blocks.0.attend: segment 'image' has 77 positions and grid None"
    ),
    (
        "layers",
        "replace(x, keys=(replace(x.keys[0], stop=22), *x.keys[1:])) if x.index > 1 else x",
    ): ("blocks.2.attend: text segment 'prompt' has 22 positions, in sequence() 17"),
    ("sequence", "replace(x, tokens=())"): (
        "session.sequence(): branch cond: segment 'prompt' is 0 to 16, its tokens are missing"
    ),
    ("sequence", "replace(x, tokens=(*x.tokens, replace(x.tokens[0], segment='t5')))"): (
        "'t5' of a token or of truncated is no text segment; if it is yours, name one of prompt"
    ),
    ("sequence", "replace(x, tokens=tuple(replace(one, stop=99) for one in x.tokens))"): (
        "branch cond: token 'a' spans 0 to 99 of a prompt of 5 characters"
    ),
    ("sequence", "replace(x, segments=(replace(x.segments[0], stop=15), x.segments[1]))"): (
        "branch cond: segment 'image' begins at 17, expected 15"
    ),
    ("generate", "replace(x, images=(np.zeros((3, 5)),))"): (
        "session.generate()[0].images[0]: got type numpy.ndarray, expected PIL.Image.Image"
    ),
    ("generate", "replace(x, images=('cat.png',))"): (
        "session.generate()[0].images[0]: got 'cat.png', expected PIL.Image.Image"
    ),
    ("generate", "replace(x, images=2 * x.images)"): (
        "session.generate()[0].images: got 2, expected request.images = 1"
    ),
    ("generate", "Output()"): "session.generate()[0]: got no images, texts or histories",
    ("generate", "replace(x, histories=({'a': np.ones(3)},))"): (
        "session.generate()[0].histories: not for JSON: Object of type ndarray"
    ),
    ("on_call", "'x'"): "session.generate(), on_call(call): got 'x', expected Call",
    ("on_call", "replace(x, rows=None)"): (
        "session.generate(), on_call(call).rows: got None, expected tuple[tuple[str, int], ...]"
    ),
    (
        "on_call",
        "replace(x, rows=(('cond', 1),))",
    ): "got [('cond', 1)], expected cond, uncond, skip",
    ("on_call", "replace(x, rows=(('positive', 0),))"): (
        "got [('positive', 0)], expected cond, uncond, skip of samples 0 to 0; if it is yours, say"
    ),
    ("on_call", "replace(x, rows=())"): "on_call(call).rows: got none, expected cond, unc",
    ("on_call", "replace(x, noise=np.float32(1))"): (
        "on_call(call).noise: got type numpy.float32, expected float | None"
    ),
    ("on_call", "replace(x, tower='unet')"): "got 'unet', expected one of denoiser, controlnet",
    ("on_call", "replace(x, step=x.step + 1)"): (
        "on_call(call).step: got 1, expected 0; if it is yours, announce steps 0 to 1 in the order"
    ),
    ("on_call", "replace(x, step=x.step if x.noise == 1 else 7)"): (
        "on_call(call).step: got 7, expected 0 or 1"
    ),
    ("on_call", "replace(x, noise=100 * x.noise)"): (
        "on_call(call).noise: got 100.0, expected 0 to 1; if it is yours, give the share of noise"
    ),
    ("on_call", "replace(x, padding=(2, 3))"): "on_call(call).padding: got 2 numbers for 1 rows",
    ("on_call", "replace(x, outcome=lambda: 3)"): (
        "session.generate(), call.outcome(): got 3, expected Mapping[str, numpy.ndarray]"
    ),
    ("generate", "replace(x, images=tuple(one.convert('F') for one in x.images))"): (
        "session.generate()[0].images[0]: got a picture of mode F, expected one of 1, L, LA, I;16"
    ),
    ("complete", "replace(x, steps=None)"): "session.complete().steps: got None, expected a number",
    ("complete", "replace(x, height=None)"): "(complete() left height None: fill in what the model",
}
IN_CLASS = {
    "Bad.Options = None": "load(): Options: got None, expected a dataclass; if it is yours, make",
    "Bad.Options = {'rows': 3}": "load(): Options: got {'rows': 3}, expected a dataclass",
    "Bad.Options = type('Options', (), {})": "got the class attn_bad.Options, expected a dataclass",
    "Bad.Options = dataclass(type('O', (), {'__annotations__': {'rows': int}}))": (
        "load(): Options: TypeError: option 'rows' has no default"
    ),
    "Bad.example_prompt = None": "load(): example_prompt: got None, expected a text",
    "Bad.default_model = lambda self, options: None": "default_model(): got None, expected str",
    "Bad.note_on_demo = lambda self, model: None": "note_on_demo(): got None, expected str",
    "return Bad": "load(): got the class attn_bad.load.<locals>.Bad, expected Backend",
    "return later()": "load(): got a coroutine (write def, not async def), expected Backend",
    "import fluxes.models": "if it is yours, add the package of 'fluxes' to its dependencies, else",
    "1 / 0": "load(): ZeroDivisionError: division by zero; if it is yours, see where with attn",
}


@pytest.fixture
def offer_bad(install):
    """Install a backend whose session, or class, is changed by a statement."""

    def offer(change="pass", changed_class="pass"):
        install("attn-bad", CODE.format(change=change, changed_class=changed_class))

    return offer


@pytest.fixture
def refused(tmp_path):
    """Capture with the bad backend and return what is said of it."""

    def refuse(**options):
        with pytest.raises(PluginError) as caught:
            attn.capture("bad", "a cat", steps=2, out=tmp_path / "run", **options)
        return str(caught.value)

    return refuse


def says(message, fact):
    """Whether a message names the package, the fact, and what to do."""
    whole = re.escape("backend 'bad' is from attn-bad 1.0: ") + r".*; if it is yours, .*, "
    whole += "else update or uninstall attn-bad(, or set ATTN_DISABLE_PLUGINS=attn-bad)?"
    return re.fullmatch(whole, message) is not None and fact in message


@pytest.mark.parametrize(("change", "fact"), WRONG.items())
def test_wrong_answers(offer_bad, refused, change, fact):
    """An answer of another type names package, member, what was got and expected, what to do."""
    offer_bad(change)
    assert says(refused(), fact)


@pytest.mark.parametrize(("change", "fact"), WRONG_IN.items())
def test_answers_that_make_no_sense(offer_bad, refused, change, fact):
    """The same of what is wrong somewhere in an answer, before the engine stumbles over it."""
    member, expression = change
    offer_bad(AFTER[member].format(expression))
    assert says(refused(), fact)


@pytest.mark.parametrize(("change", "fact"), IN_CLASS.items())
def test_wrong_backends(offer_bad, refused, change, fact):
    """The same of what a backend declares, before a model is opened."""
    offer_bad(changed_class=change)
    assert says(refused(), fact)


def test_wrong_loras(offer_bad, refused):
    """What `complete_loras` returns is checked too."""
    offer_bad(changed_class="Bad.complete_loras = lambda self, loras: None")
    message = refused(lora="demo:sdxl")
    assert says(message, "complete_loras(): got None, expected tuple[Lora, ...]")


def test_other_heads_than_run(offer_bad, tmp_path):
    """A layer that is laid out otherwise than it runs is not taken for one that is compiled."""
    offer_bad(AFTER["layers"].format("replace(x, num_heads=7)"))
    with pytest.raises(CaptureError) as caught:
        attn.capture("bad", "a cat", steps=2, out=tmp_path / "run")
    assert str(caught.value) == (
        "no attention was seen in layer read.attend of the controlnet, step 0: expected 7 heads, "
        "24 queries, 17 keys; found 2 heads, 24 queries, 17 keys. layers() lays it out otherwise "
        "than it runs: declare the heads, queries and keys that ran (backend 'bad' is from "
        "attn-bad 1.0; if it is yours, find the method to mend with "
        "attn.backends.testing.check_backend, else update or uninstall attn-bad)"
    )


def test_too_few_outputs(offer_bad, tmp_path):
    """Outputs are counted against the requests of the batch."""
    offer_bad("made = session.generate; session.generate = lambda *given: made(*given)[:1]")
    run = attn.capture("bad", "a cat", steps=2, seed=(1, 5), batch=2, out=tmp_path / "run")
    fact = "session.generate(): got 1 outputs for 2 requests; if it is yours, give one for each"
    assert fact in run.warnings[0]


@pytest.mark.parametrize("method", ["complete", "layers", "check", "generate"])
def test_bugs_keep_their_traceback(offer_bad, tmp_path, method):
    """What a stranger's code raises is not hidden; a note says whose it is."""
    offer_bad(f"session.{method} = broken")
    with pytest.raises(ZeroDivisionError) as caught:
        attn.capture("bad", "a cat", steps=2, out=tmp_path / "run")
    assert re.search(
        rf"It happened in session\.{method}\(\), broken\(\) \(attn_bad\.py:\d+\): backend 'bad' "
        r"is from attn-bad 1\.0; if it is yours, mend it and run "
        r"attn\.backends\.testing\.check_backend, else update or uninstall attn-bad",
        "".join(traceback.format_exception(caught.value)),
    )


@pytest.mark.parametrize("change", ["Bad.default_model = broken", "Bad.Options = Broken"])
def test_bugs_before_the_model_is_opened(offer_bad, tmp_path, change):
    """The same of the members that are asked first."""
    options = "Broken = dataclass(type('Broken', (), {'__post_init__': broken}))"
    offer_bad(changed_class=f"{options}; {change}")
    with pytest.raises(ZeroDivisionError) as caught:
        attn.capture("bad", "a cat", steps=2, out=tmp_path / "run")
    (note,) = caught.value.__notes__
    member = change.partition(" ")[0].removeprefix("Bad.")
    assert note.startswith(f"It happened in {member}")
    assert "), broken() (attn_bad.py:" in note or "Options, broken() (attn_bad.py:" in note


def test_bugs_that_python_hides(offer_bad, tmp_path):
    """A `next` that finds nothing is told with its place, though generators swallow it."""
    offer_bad("session.sequence = lambda *_: next(iter(()))")
    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        attn.capture("bad", "a cat", steps=2, out=tmp_path / "run")
    assert "in session.sequence(), <lambda>() (attn_bad.py:" in caught.value.__notes__[0]


def test_missing_dependency_at_work(offer_bad, tmp_path):
    """What a method imports and is not there belongs into the dependencies."""
    offer_bad("import fluxes.models")
    with pytest.raises(ModuleNotFoundError) as caught:
        attn.capture("bad", "a cat", steps=2, out=tmp_path / "run")
    assert "yours, add the package of 'fluxes' to its dependencies" in caught.value.__notes__[0]


@pytest.mark.parametrize("member", ["complete", "layers", "sequence", "generate", "check"])
def test_what_a_backend_prints_is_no_output(offer_bad, tmp_path, capsys, member):
    """What a plugin prints at work goes to stderr, as what it prints when it is imported."""
    offer_bad(f"made = session.{member}; session.{member} = lambda *a: print('hello') or made(*a)")
    attn.capture("bad", "a cat", steps=2, out=tmp_path / "run")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "hello\n" in printed.err


def test_bugs_in_a_collection_name_the_package(offer_bad, tmp_path):
    """A prompt that fails among others is listed with whose code it was."""
    offer_bad("session.generate = broken")
    with pytest.warns(UserWarning, match=r"^2 of 2 traces failed, see \.failures: 0000 "):
        run = attn.capture("bad", "a cat", steps=2, seed=(1, 5), out=tmp_path / "run")
    assert re.fullmatch(
        r"ZeroDivisionError in attn_bad\.py:\d+: oops\. It happened in session\.generate\(\), .*"
        r" backend 'bad' is from attn-bad 1\.0; .*",
        run.failures[0].error,
    )


def test_what_complete_left_out_is_said(offer_bad, tmp_path):
    """Where a later method stumbles over a None, the method that left it is named."""
    offer_bad(
        "made = session.complete; session.complete = lambda r: replace(made(r), width=None); "
        "session.sequence = lambda request, branch: request.width // 8"
    )
    with pytest.raises(TypeError) as caught:
        attn.capture("bad", "a cat", steps=2, out=tmp_path / "run")
    assert caught.value.__notes__[0] == "complete() left width None: fill in what the model has"


def test_our_own_bugs_are_not_blamed_on_a_forward(offer_bad, tmp_path, monkeypatch):
    """What goes wrong while attention is recorded is not the package's forward()."""
    offer_bad("made = session.generate; session.generate = lambda *given: made(*given)")
    monkeypatch.setattr("attn.engine.recorder.Batches.add", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        attn.capture("bad", "a cat", steps=2, out=tmp_path / "run")
    assert caught.value.__notes__ == [
        "It happened while attn recorded session.generate(): backend 'bad' is from attn-bad 1.0. "
        "Report it to attn, with what attn.backends.testing.check_backend says."
    ]


def test_announcements_that_do_not_fit(offer_bad, tmp_path):
    """Where the engine cannot follow, the author is told which tool finds the method."""
    offer_bad("made = session.generate; session.generate = lambda given, call: made(given, None)")
    with pytest.raises(CaptureError, match=r"without one forward .*check_backend"):
        attn.capture("bad", "a cat", steps=2, out=tmp_path / "run")


def test_open_with_other_arguments(offer_bad, refused):
    """An `open` that does not take what is given to it is named, with the arguments to take."""
    offer_bad(changed_class="Bad.open = lambda self, source: None")
    assert says(refused(), "yours, give it the arguments of attn.backends.Backend.open, else")


def test_errors_of_the_backend_itself_stay_as_they_are(offer_bad, tmp_path):
    """What a plugin refuses in its own words is not dressed up."""
    offer_bad()
    with pytest.raises(AttnError) as caught:
        attn.capture("bad", "a cat", size=(13, 8), out=tmp_path / "run")
    assert str(caught.value) == "size 13x8: width and height must be divisible by 8"


def test_the_note_on_a_demo_variant_is_the_backends(offer_bad):
    """Users read what a stranger's family says of each of its demo models."""
    from attn.backends import find
    from attn.backends.plugins.guard import guarded

    offer_bad("pass", "Bad.note_on_demo = lambda self, model: f'{model} knows three words'")
    assert guarded(find("bad")).note_on_demo("demo:small") == "demo:small knows three words"


def test_our_own_backends_are_not_blamed(install):
    """A bug of ours is no stranger's: it keeps its traceback and gets no note."""
    from attn.backends import find
    from attn.backends.plugins.guard import attributed, capture_attributed

    with pytest.raises(ZeroDivisionError) as caught, attributed(find("sdxl"), "open()"):
        raise ZeroDivisionError("oops")
    assert not hasattr(caught.value, "__notes__")
    with pytest.raises(CaptureError, match=r"^unseen$"), capture_attributed(find("sdxl")):
        raise CaptureError("unseen")
