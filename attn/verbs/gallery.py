"""`attn gallery`: one page of all runs and comparisons in a folder, with pictures and settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from attn.errors import TraceError
from attn.files.digests import read_output
from attn.files.disk import (
    as_utf8,
    is_file,
    is_folder,
    is_there,
    remove_parts,
    reported,
    write_atomic,
)
from attn.files.markers import require_unchanged
from attn.files.names import COLLECTION
from attn.files.outside import open_regular, read_json, require_inside
from attn.files.results import COMPARISON
from attn.files.scratch import sweep
from attn.schema import SKETCH, Manifest
from attn.trace.store import MANIFEST, read_manifest
from attn.verbs import checks
from attn.verbs.capture.collection import read_index
from attn.verbs.capture.folders import ANALYSIS
from attn.verbs.html import render
from attn.verbs.report import Report
from attn.wording import count_noun

PAGE = "index.html"
DEEPEST = 4
"""Levels below the folder on which traces are looked for: a comparison's are on the third."""
PICTURES = (".png", ".gif")
SUMMARY = "summary.png"
"""The picture of a comparison that is shown; the others are linked."""
MARK = "<!-- made by attn gallery -->"
BEGINNING = 2**10
"""Bytes of a page in which the mark is."""


@dataclass(frozen=True)
class Gallery:
    """A page that was written, and how many runs and comparisons are on it."""

    path: Path
    runs: int
    comparisons: int


@dataclass(frozen=True)
class Link:
    """A file or folder: its address, seen from the page, and what the link says."""

    url: str
    text: str


@dataclass(frozen=True)
class Article:
    """What the page says of one run or comparison.

    Attributes:
        heading: the prompt, or what is compared.
        kind: what it is, beside its date.
        settings: how it was made.
        when: it was written.
        folder: where it is.
        images: that are shown.
        links: further files.
    """

    heading: str
    kind: str
    settings: str
    when: str
    folder: Link
    images: Sequence[Link]
    links: Sequence[Link]


def build(folder: str | Path = "attn-runs", *, report: Report | None = None) -> Gallery:
    """Write `index.html` into a folder of runs: `attn gallery`. Nothing else is changed.

    A trace or comparison that cannot be read is left out, with a warning.

    Args:
        folder: with traces in it, or collections and comparisons of them.
        report: told warnings.

    Raises:
        TraceError: there is nothing to show, another page is in the way, or it cannot be written.
    """
    from markupsafe import Markup

    root, report = checks.folder("folder", folder), report or Report()
    page = root / PAGE
    if is_file(root):
        raise TraceError(f"{root} is a file; name a folder of runs")
    _refuse_other_page(page)
    sweep(root)
    entries = []
    for file in _files(root, DEEPEST, report.warn):
        describe = _run if file.name == MANIFEST else _comparison
        try:
            with reported(file, "read"):
                entries.append((_written(file), file.name, describe(root, file.parent)))
        except TraceError as error:
            report.warn(str(error))
    if not entries:
        raise TraceError(f"{root} holds no trace; make one with attn capture --out {root}/NAME")
    entries.sort(key=lambda entry: -entry[0])  # the newest first
    kinds, articles = [kind for _, kind, _ in entries], [article for _, _, article in entries]
    made = Gallery(page, kinds.count(MANIFEST), kinds.count(COMPARISON))
    title = f"{root.resolve().name}: {count(made)}"
    text = render("gallery.html", mark=Markup(MARK), title=title, articles=articles)
    write_atomic(page, as_utf8(text).encode())
    remove_parts(page)
    return made


def _refuse_other_page(page: Path) -> None:
    """Refuse to replace what is called like our page and is not."""
    with reported(page, "read"):
        if is_there(page) and not _has_mark(page):
            raise TraceError(
                f"{page} was not made by attn gallery: move it, or choose another folder"
            )


def _has_mark(page: Path) -> bool:
    if not is_file(page):
        return False
    with open_regular(page) as stream:
        return MARK.encode() in stream.read(BEGINNING)


def count(made: Gallery) -> str:
    """Count the runs and comparisons of a page in words."""
    runs = count_noun(made.runs, "run")
    return f"{runs}, {count_noun(made.comparisons, 'comparison')}" if made.comparisons else runs


def _files(folder: Path, depth: int, warn: Callable[[str], None]) -> Iterator[Path]:
    """Yield the indices of comparisons and of traces, not of those inside of traces."""
    if _has(folder, MANIFEST):
        yield folder / MANIFEST
        return
    if _has(folder, COMPARISON):
        yield folder / COMPARISON
    try:
        if _has(folder, COLLECTION):
            read_index(folder)  # a damaged one is told of; its traces are shown
    except TraceError as error:
        warn(str(error))
    try:
        with reported(folder, "read"):
            children = sorted(folder.iterdir()) if depth and folder.is_dir() else []
    except TraceError as error:
        warn(str(error))
        return
    for child in children:
        if is_folder(child) and not child.name.startswith("."):
            yield from _files(child, depth - 1, warn)


def _has(folder: Path, name: str) -> bool:
    """Whether there is something of this name that is no folder, whether it can be read or not."""
    return os.path.lexists(folder / name) and not is_folder(folder / name)


def _written(file: Path) -> float:
    return file.stat().st_mtime


def _run(root: Path, trace: Path) -> Article:
    """Build the article of one run."""
    manifest = read_manifest(trace)
    outputs = [name for name in manifest.outputs if name.endswith(PICTURES)]
    shown = sorted(outputs, key=lambda name: name == SKETCH)  # the sketch last
    for name in shown:
        _inside(trace / MANIFEST, name)
        read_output(trace, name, manifest)
    results = trace / ANALYSIS
    paths = [path for path in sorted(results.rglob("*")) if path.suffix in (*PICTURES, ".txt")]
    status = "" if manifest.status == "complete" else " · interrupted"
    return _article(
        root,
        trace / MANIFEST,
        [_inside(trace / MANIFEST, name) for name in shown],
        (manifest.request.prompt, status, _settings(manifest)),
        {path.relative_to(results).as_posix(): path for path in paths},
    )


@dataclass(frozen=True)
class _Base:
    name: str


@dataclass(frozen=True)
class _Variant:
    name: str
    pairs: int


@dataclass(frozen=True)
class _ComparisonIndex:
    """What the page says of a comparison, of its `comparison.json`."""

    base: _Base
    variants: tuple[_Variant, ...]
    files: tuple[str, ...]


def _comparison(root: Path, folder: Path) -> Article:
    """Build the article of one comparison."""
    path = folder / COMPARISON
    require_unchanged(folder, COMPARISON)
    index = read_json(path, _ComparisonIndex, expected="the index of a comparison")
    files = {name: _inside(path, name) for name in index.files if name.endswith(PICTURES)}
    shown = files.pop(SUMMARY, None)
    return _article(
        root,
        path,
        [] if shown is None else [shown],
        (
            f"{', '.join(variant.name for variant in index.variants)} against {index.base.name}",
            " · comparison",
            f"pairs {', '.join(str(variant.pairs) for variant in index.variants)}",
        ),
        files,
    )


def _inside(index: Path, name: str) -> Path:
    """Return the path of a file that an index lists.

    Raises:
        TraceError: it would be outside of the index's folder.
    """
    require_inside(index, name)
    return index.parent / name


def _article(
    root: Path,
    file: Path,
    shown: Iterable[Path],
    told: tuple[str, str, str],
    linked: Mapping[str, Path],
) -> Article:
    """Build the article of one run or comparison.

    Args:
        root: of all links.
        file: its index.
        shown: pictures.
        told: heading, what it is beside its date, and its settings.
        linked: further files, by what their links say.
    """
    heading, kind, settings = told
    when = datetime.fromtimestamp(_written(file), UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Article(
        heading,
        kind,
        settings,
        when,
        folder=_link(root, file.parent, file.parent.relative_to(root).as_posix()),
        images=[_link(root, path, path.name) for path in shown],
        links=[_link(root, path, name) for name, path in linked.items()],
    )


def _settings(manifest: Manifest) -> str:
    """Return how a picture was made, on one line."""
    request = manifest.request
    facts = {
        "backend": manifest.backend,
        "model": manifest.model.get("source"),
        "seed": request.seed,
        "steps": request.steps,
        "guidance": request.guidance,
        "size": f"{request.width}x{request.height}" if request.width else None,
        "scheduler": request.scheduler,
        "negative": request.negative,
        "LoRAs": ", ".join(
            f"{Path(lora.path).name}{lora.selection} at {lora.strength}" for lora in request.loras
        ),
        **request.options,
    }
    told = ((name, value) for name, value in facts.items() if value not in (None, "", ()))
    return " · ".join(f"{name} {value}" for name, value in told)


def _link(root: Path, path: Path, text: str) -> Link:
    return Link(quote(os.fsencode(path.relative_to(root))), text)  # names need not be UTF-8
