"""Commands that write, each with what is there before it, and what must be whole at any moment."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from attn import demo
from attn.files.markers import MARKER
from attn.trace.store import MANIFEST
from attn.verbs.analyze.analyze import analyze
from attn.verbs.compare.compare import compare
from attn.verbs.evaluate.evaluate import evaluate
from attn.verbs.gallery import build
from attn.verbs.lora import examine
from attn.verbs.shards.merge import merge
from attn.verbs.view import view
from tests.helpers.models import lora_files
from tests.helpers.toy_runs import capture_fake
from tests.helpers.toy_traces import write_collection, write_trace

PROMPTS = ["a red cat", "a dog"]
MODEL = "tiny:sd15"
VOLATILE = {
    MARKER: ("attn", "pid", "started", "sha256"),
    MANIFEST: ("environment", "cost", "sha256"),
}
"""What differs in two files of the same contents, by their names."""
MINE = "mine"
FOREIGN = json.dumps(
    {"schema": 1, "files": ["thesis.txt", "link/victim.txt", "../outside/victim.txt"]}
)
"""The index of somebody else's results, which lists what others have."""

State = dict[str, object]
"""Contents of every file below a folder, targets of links, None for folders, by path."""


@dataclass(frozen=True)
class Scene:
    """One command.

    Attributes:
        prepare: makes what is there before.
        run: the command, told the folder that it is in.
        results: folders below that one which are whole at any moment, earlier or new; of a capture
            it is the traces that say that they are complete.
    """

    prepare: Callable[[Path], object]
    run: Callable[[Path], object]
    results: tuple[str, ...] = ()


def look(folder: Path) -> State:
    """Return what is below a folder."""
    return {path.relative_to(folder).as_posix(): _content(path) for path in folder.rglob("*")}


def _content(path: Path) -> object:
    if path.is_symlink():
        return path.readlink()
    if not path.is_file():
        return None
    data = path.read_bytes()
    try:
        facts = json.loads(data) if path.name in VOLATILE else None
    except ValueError:  # it was damaged
        facts = None
    if facts is None:
        return data
    return {key: value for key, value in facts.items() if key not in VOLATILE[path.name]}


def add_bystander(folder: Path, results: str = "") -> None:
    """Put what others have beside results and, if there are some, into them."""
    for name in (".results-mine", ".analysis-notes", ".attn-scratch-mine0000", ".new-mine"):
        for part in ("old", "new", "keep"):
            _write(folder / name / part / "thesis.txt")
    _write(folder / "outside" / "victim.txt")
    (folder / "link").symlink_to("outside")
    _write(folder / "tables" / "mine.csv")
    for name in ("comparison.json", "lora.json"):
        _write(folder / name, FOREIGN)
    _write(folder / "thesis.txt")
    if not results:
        return
    _write(folder / results / "notes.txt")
    _write(folder / results / "tables" / "deep" / ".hidden")
    (folder / results / "victim").symlink_to("../outside/victim.txt")
    (folder / results / "others").symlink_to("../outside")
    (folder / results / "empty" / "too").mkdir(parents=True)


def bystander(state: State) -> State:
    """Return what others have: files that say so, and links."""
    return {
        name: value
        for name, value in state.items()
        if value == MINE.encode() or value == FOREIGN.encode() or isinstance(value, Path)
    }


def _write(path: Path, text: str = MINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _capture(folder: Path) -> None:
    capture_fake(folder / "run", PROMPTS, resume=True)


def _damage(folder: Path) -> None:
    """Leave a run of which one trace is analysed and damaged, and notes are in it."""
    _capture(folder)
    analyze(folder / "run" / "0000", pictures=False)
    _write(folder / "run" / "0000" / "analysis" / "notes.txt")
    (folder / "run" / "0000" / MANIFEST).write_text("{")
    _write(folder / "run" / "0000" / "attention" / "notes.safetensors.txt")


def _write_runs(folder: Path) -> None:
    for seed, name in ((0, "base"), (100, "style")):
        write_collection(folder / name, range(2), seed=seed)


def _write_lora(folder: Path) -> None:
    tensors = lora_files.pair(np.random.default_rng(7)).named("lora_unet_mid_block_attn_to_q")
    lora_files.write(folder / "style.safetensors", tensors)


def _again(
    prepare: Callable[[Path], object], run: Callable[[Path], object], *results: str
) -> Scene:
    """Return the scene of a command whose earlier results others have put things into."""

    def before(folder: Path) -> None:
        prepare(folder)
        run(folder)
        add_bystander(folder, results[0])

    return Scene(before, run, results)


def _first(scene: Scene) -> Scene:
    """Return the same without earlier results."""

    def before(folder: Path) -> None:
        scene.prepare(folder)
        for results in scene.results:
            shutil.rmtree(folder / results)

    return Scene(before, scene.run, scene.results)


def _analyze(folder: Path) -> None:
    analyze(folder / "run", out=folder / "results", only=["words"], pictures=False)


def _analyze_collection(folder: Path) -> None:
    analyze(folder / "base", only=["words"], pictures=False)


def _compare(folder: Path) -> None:
    runs = (folder / "base", folder / "style")
    compare(*runs, out=folder, only=["words", "layers"], pictures=False)


def _examine(folder: Path) -> None:
    examine(folder / "style.safetensors", out=folder / "found")


def _analyze_shards(folder: Path) -> None:
    """Let shards leave their pieces, and then put them together."""
    for shard in ("1/2", "2/2", None):
        analyze(folder / "base", only=["words"], pictures=False, shard=shard)


def _evaluate(folder: Path) -> None:
    evaluate(folder / "base", sinks=True, pictures=False, out=folder / "scores")


def _write_shards(folder: Path) -> None:
    for number in (1, 2):
        capture_fake(folder / str(number), PROMPTS, shard=f"{number}/2")
    add_bystander(folder)


def _merge(folder: Path) -> None:
    merge(folder / "1", folder / "2", out=folder / "both")


def _write_page(folder: Path, run: str = "base") -> None:
    view(folder / run).save(folder / "page.html")


def _with_earlier_page(folder: Path) -> None:
    _write_runs(folder)
    _write_page(folder, "style")
    add_bystander(folder)


def _build_demo(folder: Path) -> None:
    os.environ["ATTN_CACHE"] = str(folder / "cache")
    demo.checkpoint(MODEL)


def _nothing(folder: Path) -> None:
    """Leave a folder empty."""


def _with_page(folder: Path) -> None:
    _write_runs(folder)
    build(folder)
    write_trace(folder / "late")
    add_bystander(folder)


ANALYZE = _again(partial(lambda folder: write_trace(folder / "run")), _analyze, "results")
COMPARE = _again(_write_runs, _compare, "comparison")
ANALYSES = tuple(f"base/{name}analysis" for name in ("0000/", "0001/", ""))
COLLECTION = _again(_write_runs, _analyze_collection, *ANALYSES)
EVALUATE = _again(_write_runs, _evaluate, "scores")
SCENES = {
    "analyze": ANALYZE,
    "analyze, first": _first(ANALYZE),
    "analyze a collection": COLLECTION,
    "analyze a collection, first": _first(COLLECTION),
    "compare": COMPARE,
    "compare, first": _first(COMPARE),
    "analyze in shards": _again(_write_runs, _analyze_shards, *ANALYSES),
    "evaluate": EVALUATE,
    "evaluate, first": _first(EVALUATE),
    "merge": Scene(_write_shards, _merge),
    "view": Scene(_with_earlier_page, _write_page, ("page.html",)),
    "lora": _again(_write_lora, _examine, "found"),
    "gallery": Scene(_with_page, build),
    "capture": Scene(add_bystander, _capture),
    "resume": Scene(_damage, _capture),
    "demo": Scene(_nothing, _build_demo),
}
