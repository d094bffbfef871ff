"""Kill commands before each of their changes to the disk, and by signals at any moment.

After every kill: the earlier or the new results are whole, finished traces are, and what others
have there is untouched. Then the same command succeeds, and all is as if it had not been killed.

Everything is imported once, here; a child that is forked begins at once. The parent stays without
threads: what it runs itself ends them before the next fork.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import attn.files.exchange
from attn.errors import TraceError
from attn.trace.store import MANIFEST, open_files
from benchmarks.campaign.scenes import SCENES, Scene, State, bystander, look
from tests.helpers.toy_runs import use_fake

CHANGES = {
    "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate",
}  # fmt: skip
"""Audit events of changes to the disk; `open` for writing and `os.fsync` are told apart below."""
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL)
ROUNDS = 3
"""Times that each signal meets each scene."""
MEMORY = Path("/dev/shm")
SLOW = "demo"
STRIDE = 7
"""Of the changes of a slow scene, only so many are met: prime, to meet all kinds."""


def run(sample: int | None, seed: int) -> dict[str, int]:
    """Kill.

    Args:
        sample: kills of commands that are quick; None is all of all commands.
        seed: of places and moments.

    Returns:
        Number of kills, and of runs that came to their end before a signal, by scene.
    """
    torch.set_num_threads(1)
    use_fake()
    result: Counter[str] = Counter()
    chance = random.Random(seed)
    where = MEMORY if os.access(MEMORY, os.W_OK) else None
    with TemporaryDirectory(dir=where, prefix="attn-kills-") as folder:
        for number, (name, scene) in enumerate(SCENES.items()):
            if sample is not None and name == SLOW:
                continue
            stage = _Stage(name, scene, Path(folder, str(number)))
            killed = _all(stage, chance) if sample is None else _few(stage, chance, sample)
            result[name] += killed
            result["kills"] += killed
            if sample is None:
                sys.stderr.write(f"{name}: {killed} kills, {stage.escaped} escaped\n")
            result["escaped"] += stage.escaped
    return dict(result)


def _all(stage: _Stage, chance: random.Random) -> int:
    """Kill before every change, then by signals; return the number of kills."""
    killed = 0
    for change in count(1, STRIDE if stage.name == SLOW else 1):
        if not stage.kill(before=change):
            break
        killed += 1
    for _ in range(ROUNDS):
        killed += sum(stage.send(number, chance.random()) for number in SIGNALS)
    return killed


def _few(stage: _Stage, chance: random.Random, sample: int) -> int:
    """Kill one scene's share of a sample: mostly late, where results are put in place."""
    share = max(1, sample // (len(SCENES) - 1))
    indices = (stage.changes - chance.randrange(min(stage.changes, 25)) for _ in range(share))
    return sum(stage.kill(before=index) for index in indices)


class _Stage:
    """A scene in a folder of its own, which is as it was before each kill."""

    def __init__(self, name: str, scene: Scene, folder: Path) -> None:
        self.name, self.scene = name, scene
        self.place, self.saved = folder / "now", folder / "saved"
        for path in (self.place, self.saved):
            path.mkdir(parents=True)
        self.escaped = 0
        scene.prepare(self.saved)
        scene.run(self.saved)  # what this imports need no child import again
        shutil.rmtree(self.saved)
        assert _wait(self._fork(scene.prepare)) == 0, f"{name}: nothing could be prepared"
        shutil.copytree(self.place, self.saved, symlinks=True)
        self.before = look(self.place)
        log = folder / "changes"
        began = time.monotonic()
        assert _wait(self._fork(scene.run, lambda: _on_change(_logging(log)))) == 0, name
        self.seconds = time.monotonic() - began
        self.changes = log.stat().st_size
        self.after = look(self.place)
        self._check_rest()

    def kill(self, before: int) -> bool:
        """Kill the command before one of its changes; say whether it has so many."""
        self._restore()
        status = _wait(self._fork(self.scene.run, lambda: _on_change(_dying(before))))
        if status == -signal.SIGKILL:
            self._check(f"killed before change {before}")
            return True
        assert status == 0, f"{self.name}: ended with {status} before change {before}"
        return False

    def send(self, number: signal.Signals, share: float) -> bool:
        """Send a signal after a share of the time that the command takes; say whether it ended."""
        self._restore()
        child = self._fork(self.scene.run, _take_signals)
        time.sleep(share * self.seconds)
        os.kill(child, number)
        status = _wait(child)
        self.escaped += status == 0
        self._check(f"{number.name} after {share:.3f} of its time")
        return status != 0

    def _restore(self) -> None:
        shutil.rmtree(self.place)
        shutil.copytree(self.saved, self.place, symlinks=True)

    def _fork(self, task: Callable[[Path], object], begin: Callable[[], None] | None = None) -> int:
        sys.stderr.flush()
        child = os.fork()
        if child:
            return child
        status = 1
        try:
            if begin is not None:
                begin()
            task(self.place)
            status = 0
        except KeyboardInterrupt:
            status = 130
        finally:
            if status == 1:
                traceback.print_exc()
                sys.stderr.flush()
            os._exit(status)

    def _check(self, what: str) -> None:
        """Check what a kill left, then run the command to its end and check that."""
        what = f"{self.name}, {what}"
        left = look(self.place)
        for name in self.scene.results:
            states = [_below(state, name) for state in (self.before, self.after)]
            assert _below(left, name) in states, f"{what}: {name} is neither the one nor the other"
        for name, content in bystander(self.before).items():
            assert left.get(name, "nothing") == content, f"{what}: {name} was touched"
        self._check_traces(left, what)
        assert _wait(self._fork(self.scene.run)) == 0, f"{what}: the same command fails"
        end = look(self.place)
        assert end == self.after, f"{what}: differs in the end: {_difference(end, self.after)}"

    def _check_traces(self, left: State, what: str) -> None:
        for manifest in self.place.rglob(MANIFEST):
            folder = manifest.parent
            name = folder.relative_to(self.place).as_posix()
            try:
                files = open_files(folder)
                files.verify()
            except TraceError:
                same = self.before.get(f"{name}/{MANIFEST}") == left[f"{name}/{MANIFEST}"]
                assert same, f"{what}: {name} is damaged"
                continue
            if files.manifest.status == "complete" and not self.scene.results:
                assert _below(left, name) == _below(self.after, name), (
                    f"{what}: {name} is not whole"
                )

    def _check_rest(self) -> None:
        """Check that the command, unbroken, leaves no temporary file and what others have."""
        for name in self.after:
            is_new = name not in self.before
            assert not (is_new and ("scratch" in name or name.endswith(".part"))), name
        assert bystander(self.before).items() <= self.after.items(), self.name


def _below(state: State, folder: str) -> State:
    """Return what is in one folder, and the folder itself."""
    return {
        name: value
        for name, value in state.items()
        if name == folder or name.startswith(f"{folder}/")
    }


def _difference(one: State, other: State) -> list[str]:
    return sorted(
        name for name in one.keys() | other.keys() if one.get(name, "") != other.get(name, "")
    )


def _wait(child: int) -> int:
    """Return the exit code of a child, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _take_signals() -> None:
    """Take signals as a program does that was just started."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _logging(path: Path) -> Iterator[object]:
    """Add a byte to a file at each change."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return iter(lambda: os.write(handle, b"."), None)


def _dying(before: int) -> Iterator[object]:
    """Live through all changes before one."""
    for _ in range(before - 1):
        yield
    os.kill(os.getpid(), signal.SIGKILL)
    yield


def _on_change(changes: Iterator[object]) -> None:
    """Take the next of an iterator before every change that this process makes to the disk."""

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        is_write = event == "open" and int(str(arguments[2] or 0)) & (os.O_WRONLY | os.O_RDWR)
        if is_write or event in CHANGES:
            next(changes)

    sync, exchange = os.fsync, attn.files.exchange._exchange

    def before_sync(handle: int) -> None:
        next(changes)
        sync(handle)

    def before_exchange(one: Path, other: Path) -> bool:
        next(changes)
        return exchange(one, other)

    os.fsync, attn.files.exchange._exchange = before_sync, before_exchange
    sys.addaudithook(audit)
