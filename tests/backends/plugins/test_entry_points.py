"""One plugin, well-behaved or hostile."""

import builtins
import os
import signal
import sys
import threading

import pytest

from attn.backends.builtin import attn_backends
from attn.backends.plugins import contained, registry

BUILT_IN = [spec.name for spec in attn_backends()]
UNUSABLE = {
    "raises": ("1 / 0", "import", "ZeroDivisionError: division by zero"),
    "lacks": ("import attn_x", "import", "ModuleNotFoundError: No module named 'attn_x'"),
    "exits": ("raise SystemExit(3)", "import", "SystemExit: 3"),
    "interrupts": ("raise KeyboardInterrupt", "import", "KeyboardInterrupt"),
    "leaves": ("raise GeneratorExit", "import", "GeneratorExit"),
    "ends": ("import os\nos._exit(3)", "import", "SystemExit: os._exit(3)"),
    "unparsable": ("def", "import", "SyntaxError: invalid syntax"),
    "misspelt": (
        "@hookimpl\ndef attn_backend(): pass",
        "register",
        "got a hook 'attn_backend', expected attn_backends() without arguments, marked with "
        "@attn.hookimpl. Did you mean 'attn_backends'?",
    ),
    "arguments": ("@hookimpl\ndef attn_backends(x): pass", "register", "expected attn_backends()"),
    "unmarked": ("def attn_backends(): pass", "register", "no hook found"),
}

WRONG_ANSWERS = {
    "1 / 0": "ZeroDivisionError: division by zero",
    "exit(3)": "SystemExit: 3",
    "(BackendSpec(name, name, load) for name in ['early', 1])": "got the name 1, expected lower",
    "None": "got None, expected a list of BackendSpec",
    "BackendSpec('one', 'One', load)": "got type BackendSpec, expected a list of BackendSpec",
    "'one'": "got 'one', expected a list of BackendSpec",
    "{'name': 'one'}": "got {'name': 'one'}, expected a list of BackendSpec",
    "['one']": "got an item 'one', expected BackendSpec",
    "__import__('itertools').repeat(BackendSpec('one', 'One', load))": "got more than 1000",
    "[]": "got none, expected at least one BackendSpec",
    "iter(())": "got none, expected at least one BackendSpec",
    "[BackendSpec('A toy', 'A toy', load)]": "got the name 'A toy', expected lower-case letters",
    "[BackendSpec('one', 'One', load, 'uno')]": "aliases of 'one': got 'uno', expected a tuple",
    "[BackendSpec('one', 'One\\nTwo', load)]": "got 'One\\nTwo', expected one line",
    "[BackendSpec('one', 'One', 1)]": "load of 'one': got 1, expected a function",
}


FIXES = {
    "import attn_x": "add the package of 'attn_x' to its dependencies",
    "import attn_bad.missing": 'run python -c "import attn_bad; attn_bad.attn_backends()"',
    "1 / 0": 'run python -c "import attn_bad; attn_bad.attn_backends()"',
    "@hookimpl\ndef attn_backend(): pass": "rename the function",
    "def attn_backends(): pass": "write the hook as in plugins.md",
    "@hookimpl\ndef attn_backends(): return ['one']": "write the BackendSpec as in plugins.md",
    "@hookimpl\nasync def attn_backends(): return []": "return a list of BackendSpec",
}

ENTRY_POINTS = {
    "attn_bad:missing": "but module 'attn_bad' has no attribute 'missing'",
    "not a name": "expected a module",
    "": "expected a module",
    "nowhere.plugin:hook": "but there is no module 'nowhere'",
}


def names():
    return [spec.spec.name for spec in registry.installed().specs]


@pytest.mark.parametrize(("code", "stage", "cause"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_plugin(install, offer, code, stage, cause):
    """A broken package loses its own backends only, and the report says at which stage and why."""
    install("attn-bad", code)
    offer("attn-toy")
    assert names() == sorted([*BUILT_IN, "toy"])
    (failure,) = registry.installed().failures
    assert (failure.plugin, failure.distribution, failure.stage) == ("bad", "attn-bad", stage)
    assert cause in failure.cause
    assert "\n" not in str(failure)


@pytest.mark.parametrize(("answer", "cause"), WRONG_ANSWERS.items())
def test_wrong_answer(offer, answer, cause):
    """A hook that raises, or whose answer is unusable, disables its own package only."""
    offer("attn-bad", answer)
    offer("attn-toy")
    assert names() == sorted([*BUILT_IN, "toy"])
    (failure,) = registry.installed().failures
    assert (failure.distribution, failure.stage) == ("attn-bad", "attn_backends")
    assert cause in failure.cause


@pytest.mark.parametrize(("code", "fix"), FIXES.items())
def test_author_is_told_what_to_do(install, code, fix):
    """Each failure says what its author can do, and what everybody else can."""
    install("attn-bad", code)
    (failure,) = registry.installed().failures
    assert failure.fix == (
        f"if it is yours, {fix}, else update or uninstall attn-bad, or set "
        "ATTN_DISABLE_PLUGINS=attn-bad"
    )


@pytest.mark.parametrize(
    ("kind", "cause"),
    {
        "async def attn_backends(): return []": "a coroutine (write def, not async def)",
        "async def attn_backends(): yield 1": "an asynchronous generator (write def, not asy",
    }.items(),
)
def test_asynchronous_hook(install, kind, cause):
    """A hook that is declared async is told so, and Python has nothing to add."""
    install("attn-bad", f"@hookimpl\n{kind}")
    (failure,) = registry.installed().failures
    assert failure.cause.startswith(f"got {cause}")


@pytest.mark.parametrize(("value", "cause"), ENTRY_POINTS.items())
def test_entry_point_that_names_nothing(install, tmp_path, value, cause):
    """An entry point that cannot be followed is shown as it is written, with what to write."""
    install("attn-bad", "1")
    (tmp_path / "attn_bad-1.0.dist-info" / "entry_points.txt").write_text(f"[attn]\nbad = {value}")
    (failure,) = registry.installed().failures
    assert failure.stage == "import"
    assert failure.cause.startswith(f"the entry point is bad = '{value}', ")
    assert failure.cause.endswith(cause)
    assert "if it is yours, let it name the module with the hook, and install" in failure.fix


def test_package_without_a_name(install, offer, tmp_path):
    """Half-written metadata of one package does not take the others down."""
    install("attn-half", "1 / 0")
    (tmp_path / "attn_half-1.0.dist-info" / "METADATA").write_text("garbage")
    offer("attn-toy")
    assert names() == sorted([*BUILT_IN, "toy"])
    (failure,) = registry.installed().failures
    assert (failure.plugin, failure.distribution) == ("half", "a package without a name")


@pytest.mark.parametrize(
    ("damaged", "cause"),
    {b"[attn]\nbad": "TypeError: ", b"[attn]\nb\xe4d = attn_bad": "UnicodeDecodeError: "}.items(),
)
def test_damaged_entry_points(install, offer, tmp_path, monkeypatch, damaged, cause):
    """A file of entry points that cannot be read loses its own package only, which can be off."""
    install("attn-bad", "1")
    (tmp_path / "attn_bad-1.0.dist-info" / "entry_points.txt").write_bytes(damaged)
    offer("attn-toy")
    assert names() == sorted([*BUILT_IN, "toy"])
    (failure,) = registry.installed().failures
    assert (failure.distribution, failure.stage) == ("attn-bad", "metadata")
    assert failure.cause.startswith(f"entry_points.txt in {tmp_path}: {cause}")
    monkeypatch.setenv("ATTN_DISABLE_PLUGINS", "attn-bad")
    registry.installed.cache_clear()
    (failure,) = registry.installed().failures
    assert (failure.stage, registry.installed().remarks) == ("disabled", ())


def test_damaged_metadata(install, tmp_path):
    """A package whose name cannot be read is listed without one."""
    install("attn-bad", "1 / 0")
    (tmp_path / "attn_bad-1.0.dist-info" / "METADATA").write_bytes(b"Name: attn-b\xe4d")
    (failure,) = registry.installed().failures
    assert failure.distribution == "a package without a name"


def test_entry_point_of_the_function(install, tmp_path):
    """An entry point that names the hook itself is shown what to write."""
    install("attn-bad", "@hookimpl\ndef attn_backends(): return []")
    file = tmp_path / "attn_bad-1.0.dist-info" / "entry_points.txt"
    file.write_text("[attn]\nbad = attn_bad:attn_backends")
    (failure,) = registry.installed().failures
    assert failure.stage == "register"
    assert failure.cause == (
        "the entry point is bad = 'attn_bad:attn_backends', expected the module with the hook"
    )
    assert 'if it is yours, write bad = "attn_bad" and install the package again' in failure.fix


def test_slow_hook(offer):
    """The time of a plugin is that of its import and of its hook."""
    offer("attn-toy", "__import__('time').sleep(0.2) or [BackendSpec('toy', 'A toy', load)]")
    assert registry.find("toy").seconds >= 0.2


def test_generator_that_raises_late(install):
    """A hook that yields one backend and then raises offers none."""
    install(
        "attn-bad",
        "@hookimpl\ndef attn_backends():\n"
        "    yield BackendSpec('early', 'Early', load)\n"
        "    raise OSError('late')\n",
    )
    assert "early" not in names()
    assert registry.installed().failures[0].cause == "OSError: late"


def test_interrupt_while_loading(install):
    """Ctrl-C during a plugin's import stops the command instead of disabling the plugin."""
    install("attn-slow", "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n[0] * 9")
    with pytest.raises(KeyboardInterrupt):
        registry.installed()


@pytest.mark.parametrize("code", ["__import__('time').sleep(9)", "while True: pass"])
def test_endless_import(install, offer, monkeypatch, capsys, code):
    """A plugin that never ends is named while it is waited for, and then left out."""
    monkeypatch.setattr(contained, "PATIENCE", 0.5)  # the other one takes less
    monkeypatch.setattr(contained, "LIMIT", 0.6)
    install("attn-bad", code)
    offer("attn-toy")
    assert "toy" in names()
    (failure,) = registry.installed().failures
    assert (
        failure.cause
        == "attn.backends.plugins.contained.Endless: it did not end within 0.6 seconds"
    )
    assert capsys.readouterr().err == (
        "still waiting for plugin 'bad' of attn-bad; ATTN_DISABLE_PLUGINS=attn-bad skips it ...\n"
    )


def test_threads_of_a_plugin(offer):
    """Threads that an import leaves running are counted, and do not keep Python from ending."""
    stop = threading.Event()
    builtins.stop = stop
    offer(
        "attn-toy",
        "__import__('threading').Thread(target=__import__('builtins').stop.wait).start() "
        "or [BackendSpec('toy', 'A toy', load)]",
    )
    before = set(threading.enumerate())
    try:
        assert registry.find("toy").threads == 1
        assert [thread.daemon for thread in set(threading.enumerate()) - before] == [True]
    finally:
        stop.set()
        del builtins.stop


def test_alarm_of_a_plugin(install):
    """An alarm that a plugin sets at its import does not end the command later."""
    install("attn-bad", "import signal\nsignal.alarm(1)")
    before = signal.getsignal(signal.SIGALRM)
    registry.installed()
    assert (signal.alarm(0), signal.getsignal(signal.SIGALRM)) == (0, before)


def test_printing_plugin(offer, capsys):
    """What a plugin prints does not mix with what the command prints."""
    offer("attn-toy", "print('hello') or [BackendSpec('toy', 'A toy', load)]")
    assert registry.installed().failures == ()
    assert capsys.readouterr() == ("", "hello\n")


@pytest.mark.parametrize("value", ["1", "true", "ALL", "toy", "x, attn_toy", "Attn.Toy"])
def test_disabled(install, monkeypatch, value):
    """ATTN_DISABLE_PLUGINS keeps a package from being imported, by any of its names."""
    install("attn-toy", "1 / 0")
    monkeypatch.setenv("ATTN_DISABLE_PLUGINS", value)
    (failure,) = registry.installed().failures
    assert str(failure) == (
        "attn-toy (plugin 'toy'): disabled: ATTN_DISABLE_PLUGINS is set; unset it to use the plugin"
    )
    assert names() == sorted(BUILT_IN)


@pytest.mark.parametrize("value", ["", "0", "attn", "other"])
def test_not_disabled(offer, monkeypatch, value):
    """ATTN_DISABLE_PLUGINS touches neither other packages nor the built-ins."""
    offer("attn-toy")
    monkeypatch.setenv("ATTN_DISABLE_PLUGINS", value)
    assert names() == sorted([*BUILT_IN, "toy"])


@pytest.mark.parametrize(
    ("value", "remarks"),
    {
        "attn-toi, Attn.Toy": ("no plugin 'attn-toi' is installed. Did you mean 'attn-toy'?",),
        "flux,toy,sd35": ("no plugin 'flux' is installed.", "no plugin 'sd35' is installed."),
        "0": (),
        "true": (),
        "none, ": (),
    }.items(),
)
def test_disabling_what_is_not_there(offer, monkeypatch, value, remarks):
    """A misspelt name in ATTN_DISABLE_PLUGINS disables nothing, so it is said."""
    offer("attn-toy")
    monkeypatch.setenv("ATTN_DISABLE_PLUGINS", value)
    expected = tuple(f"ATTN_DISABLE_PLUGINS: {remark}" for remark in remarks)
    assert registry.installed().remarks == expected


def test_two_threads_leave_the_process_as_it_was():
    """What is changed while plugins load is put back, also where two threads load some at once."""
    before = (sys.stdout, os._exit, threading.Thread.start)
    left = threading.Event()

    def second():
        with contained.contained("second"):
            pass
        left.set()

    thread = threading.Thread(target=second)
    with contained.contained("first"):
        thread.start()
        assert not left.wait(0.1)  # it has to wait for the first
    thread.join()
    assert (sys.stdout, os._exit, threading.Thread.start) == before
