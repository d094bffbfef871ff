"""`attn gallery`: one page of all runs in a folder, with their pictures, prompts and settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from urllib.parse import quote

from attn.disk import write_atomic
from attn.errors import TraceError
from attn.schema import SKETCH, Manifest
from attn.store import MANIFEST, read_manifest
from attn.verbs.report import Report

PAGE = "index.html"
DEEPEST = 4
"""Levels below the folder on which traces are looked for: a comparison's are on the third."""
PICTURES = (".png", ".gif")
MARK = "<!-- made by attn gallery -->"

STYLE = (
    "body{font:15px/1.5 sans-serif;margin:2em auto;max-width:70em;color:#1a1a1a;padding:0 1em}"
    "article{border-top:1px solid #ddd;padding:1.2em 0;display:flex;gap:1.5em;flex-wrap:wrap}"
    "img{height:12em;border:1px solid #eee}h2{font-size:1.05em;margin:0}"
    "p{margin:.3em 0;color:#666;font-size:.9em}div{flex:1;min-width:20em}"
)


@dataclass(frozen=True)
class Gallery:
    """A page that was written, and how many runs are on it."""

    path: Path
    runs: int


def build(folder: str | Path = "attn-runs", *, report: Report | None = None) -> Gallery:
    """Write `index.html` into a folder of runs: `attn gallery`. Nothing else is changed.

    A trace that cannot be read is left out, with a warning.

    Args:
        folder: with traces in it, or collections and comparisons of them.
        report: told warnings.

    Raises:
        TraceError: there is no trace, another page is in the way, or it cannot be written.
    """
    root, report = Path(folder), report or Report()
    page = root / PAGE
    if root.is_file():
        raise TraceError(f"{root} is a file; name a folder of runs")
    if page.exists() and MARK not in page.read_text(encoding="utf-8", errors="replace"):
        raise TraceError(f"{page} was not made by attn gallery: move it, or choose another folder")
    entries = []
    for trace in sorted(_traces(root, DEEPEST), key=_written, reverse=True):
        try:
            entries.append(_entry(root, trace, read_manifest(trace)))
        except TraceError as error:
            report.warn(str(error))
    if not entries:
        raise TraceError(f"{root} holds no trace; make one with attn capture --out {root}/NAME")
    noun = "run" if len(entries) == 1 else "runs"
    title = escape(f"{root.resolve().name}: {len(entries)} {noun}")
    text = (
        f"<!doctype html>{MARK}<html lang=en><meta charset=utf-8><title>{title}</title>"
        f"<style>{STYLE}</style><h1>{title}</h1>\n{''.join(entries)}</html>\n"
    )
    write_atomic(page, text.encode())
    return Gallery(page, len(entries))


def _traces(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the folders of traces, not those inside of traces."""
    if (folder / MANIFEST).is_file():
        yield folder
    elif depth and folder.is_dir():
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.name.startswith("."):
                yield from _traces(child, depth - 1)


def _written(trace: Path) -> float:
    return (trace / MANIFEST).stat().st_mtime


def _entry(root: Path, trace: Path, manifest: Manifest) -> str:
    """Return what the page says of one run."""
    outputs = [name for name in manifest.outputs if name.endswith(PICTURES)]
    shown = sorted(outputs, key=lambda name: name == SKETCH)  # the sketch last
    images = "".join(
        f'<a href="{one}"><img src="{one}" alt="{escape(name)}"></a>'
        for name in shown
        for one in [_link(root, trace / name)]
    )
    results = trace / "analysis"
    found = [path for path in sorted(results.rglob("*")) if path.suffix in (*PICTURES, ".txt")]
    links = " · ".join(
        f'<a href="{_link(root, path)}">{escape(path.relative_to(results).as_posix())}</a>'
        for path in found
    )
    when = datetime.fromtimestamp(_written(trace), UTC).strftime("%Y-%m-%d %H:%M UTC")
    status = "" if manifest.status == "complete" else " · interrupted"
    return (
        f"<article>{images}<div><h2>{escape(manifest.request.prompt)}</h2>"
        f'<p>{when}{status} · <a href="{_link(root, trace)}/">'
        f"{escape(trace.relative_to(root).as_posix())}</a></p>"
        f"<p>{escape(_settings(manifest))}</p><p>{links}</p></div></article>\n"
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
        "LoRAs": ", ".join(f"{Path(one.path).name} at {one.scale:g}" for one in request.loras),
        **request.options,
    }
    told = ((name, value) for name, value in facts.items() if value not in (None, "", ()))
    return " · ".join(f"{name} {value}" for name, value in told)


def _link(root: Path, path: Path) -> str:
    return quote(path.relative_to(root).as_posix())
