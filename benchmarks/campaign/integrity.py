"""Change one bit of a file of finished traces: whoever reads the file has to notice.

Traces with every kind of file are captured once: of a drawing, and of a text. Which files a reader
opens is watched, not listed, so that one that is read without a check cannot be forgotten. A reader
notices by an error, or by a warning that it does not give of whole traces; `--resume` by making
what was damaged again, so that all is as it was.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image

import attn
from attn.errors import AttnError
from attn.verbs.gallery import build
from attn.verbs.report import Report
from attn.verbs.verify import verify
from tests.helpers.toy_runs import contents

FLIPS = 20
"""Changed bits of each file, for each reader."""
COSTLY = 6
"""The same for readers that take seconds."""
PROMPTS = ["a red cat", "a dog"]
SETTINGS: dict[str, dict[str, Any]] = {
    "scribble": {"steps": 2, "size": (64, 96)},
    "mmada": {"steps": 2, "settings": {"gen_length": "8", "block_length": "8"}},
}
"""How the traces of each family are made."""


def _capture(run: Path, *, resume: bool = False) -> None:
    settings = SETTINGS[run.name]
    if run.name == "scribble":
        settings = settings | {"sketch": run.parent / "drawing.png"}
    attn.capture(
        run.name, PROMPTS, model="demo", out=run, resume=resume, report=Report(), **settings
    )


def _open(run: Path, _: Report) -> None:
    trace = attn.open(run / "0000")
    for layer in trace.layers:
        trace.maps(layer.index, layer.blocks[0]).load()
        trace.mass(layer.index, layer.blocks[0]).load()
    for name in trace.manifest.outputs:
        trace.output(name)


def _analyze(run: Path, report: Report) -> None:
    attn.analyze(run, pictures=False, out=run.parent / "new", report=report)


def _draw(run: Path, report: Report) -> None:
    names = {"scribble": "sketch", "mmada": "unmasking"}
    attn.analyze(run / "0000", only=names[run.name], out=run.parent / "new", report=report)


def _compare(run: Path, report: Report) -> None:
    attn.compare(run, run, pictures=False, out=run.parent / "new", report=report)


def _gallery(run: Path, report: Report) -> None:
    build(run, report=report)


def _resume(run: Path, _: Report) -> None:
    _capture(run, resume=True)


def _verify(run: Path, report: Report) -> None:
    for damage in verify(run).damaged:
        report.warn(f"{damage.path} {damage.reason}")


READERS: dict[str, Callable[[Path, Report], None]] = {
    "open": _open,
    "analyze": _analyze,
    "analyze with pictures": _draw,
    "compare": _compare,
    "gallery": _gallery,
    "resume": _resume,
    "verify": _verify,
}
SLOW = ("analyze with pictures", "compare", "resume")


class _Watch:
    """Which files this process opens, while it is on."""

    def __init__(self) -> None:
        self.opened: set[str] | None = None
        sys.addaudithook(self._note)

    @contextmanager
    def on(self) -> Iterator[set[str]]:
        """Yield the files that are opened in the block."""
        self.opened = opened = set()
        yield opened
        self.opened = None

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.opened is not None and event == "open" and isinstance(arguments[0], str | Path):
            self.opened.add(os.path.realpath(arguments[0]))


def run(sample: int | None, seed: int) -> dict[str, str]:
    """Change bits.

    Args:
        sample: changed bits of each file for each reader; None is `FLIPS`, or `COSTLY`.
        seed: of the bits.

    Returns:
        Of each file and reader of it, how many of how many changed bits were noticed.
    """
    torch.set_num_threads(1)
    watch, figures, chance = _Watch(), dict[str, str](), random.Random(seed)
    with TemporaryDirectory(prefix="attn-integrity-") as folder:
        drawing = Image.new("L", (96, 64), 255)
        drawing.paste(0, (11, 7, 61, 43))
        drawing.save(Path(folder, "drawing.png"))
        for family in SETTINGS:
            run = Path(folder, family)
            _capture(run)
            for reader in READERS:
                figures |= _cells(run, reader, watch, chance, sample)
    missed = [name for name, told in figures.items() if len({*told.split("/")}) > 1]
    assert not missed, (
        f"not always noticed: {', '.join(f'{name} {figures[name]}' for name in missed)}"
    )
    return figures


def _cells(
    run: Path, reader: str, watch: _Watch, chance: random.Random, sample: int | None
) -> Iterator[tuple[str, str]]:
    """Yield what one reader notices of each kind of file that it opens."""
    whole = contents(run)
    with watch.on() as opened:
        usual, is_refused = _said(run, reader)
    if is_refused:  # texts are not compared
        return
    count = sample or (COSTLY if reader in SLOW else FLIPS)
    for file in _files(run):
        if str(run.resolve() / file) in opened:
            damage = [_flipped(run / file, chance) for _ in range(count)]
            noticed = sum(_is_noticed(run, reader, file, data, (usual, whole)) for data in damage)
            name = file.replace("0000/", "")
            yield f"{run.name}, {name}, {reader}", f"{noticed}/{count}"
            sys.stderr.write(f"{run.name}, {name}, {reader}: {noticed}/{count}\n")


def _files(run: Path) -> list[str]:
    """Return one file of each kind: what the collection and its first trace have, one shard."""
    first = run / "0000"
    paths = [path for folder in (run, first, first / "outputs") for path in folder.iterdir()]
    paths += [*(first / "attention").glob("*.jsonl"), *(first / "attention").glob("*0.safetensors")]
    return sorted(path.relative_to(run).as_posix() for path in paths if path.is_file())


def _said(run: Path, reader: str) -> tuple[list[str], bool]:
    """Return what a reader warns of, and whether it refuses; its results are removed."""
    report, is_refused = Report(), False
    try:
        READERS[reader](run, report)
    except AttnError:
        is_refused = True
    finally:
        shutil.rmtree(run.parent / "new", ignore_errors=True)
    return sorted(report.warnings), is_refused


def _flipped(path: Path, chance: random.Random) -> bytes:
    """Return the content of a file with another bit."""
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _is_noticed(
    run: Path, reader: str, file: str, data: bytes, whole: tuple[list[str], dict[str, Any]]
) -> bool:
    """Let a reader read a changed file, and put all back as it was.

    Args:
        run: the collection.
        reader: of `READERS`.
        file: in the collection.
        data: its other content.
        whole: what the reader says of the collection, and its contents.
    """
    usual, before = whole
    kept = shutil.copytree(run, run.parent / "kept")
    (run / file).write_bytes(data)
    try:
        said, is_refused = _said(run, reader)
        if reader != "resume":
            return is_refused or said != usual
        for left in run.rglob("*.damaged"):
            left.unlink()  # a manifest may say more than can be made again
        return contents(run) == before and not verify(run).damaged
    finally:
        shutil.rmtree(run)
        kept.rename(run)
