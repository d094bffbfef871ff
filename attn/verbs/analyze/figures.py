"""Draw what an analysis found, over what the trace generated."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from attn.analysis.images import read_forming, read_image, read_video
from attn.schema import name_layers
from attn.trace.words.occurrences import list_vocabulary
from attn.viz.sizes import USUAL, FigureSize

if TYPE_CHECKING:
    from attn.analysis.result import Result
    from attn.schema import Manifest
    from attn.trace.trace import Trace
    from attn.viz.figures import Subject
    from attn.viz.strokes import Lines


def draw_result(
    draw: str,
    result: Result,
    trace: Trace,
    folder: Path,
    size: FigureSize = USUAL,
    vocabulary: Sequence[str] = (),
) -> tuple[str, ...]:
    """Write the pictures of a result, one at a time in memory.

    Args:
        draw: `module:function` of the analysis.
        result: what it found.
        trace: where it found it.
        folder: where the pictures go.
        size: of the pictures.
        vocabulary: words of all traces that are drawn together; empty are those of this one.

    Returns:
        The files, relative to the folder.
    """
    from attn.viz.figures import write

    module, _, name = draw.partition(":")
    files = []
    subject = _subject(trace, size.dpi, vocabulary)
    for figure_file in getattr(import_module(module), name)(result, subject):
        write(figure_file, folder, subject.texts, size)
        files.append(figure_file.path)
    return tuple(files)


def note_fonts(manifest: Manifest) -> tuple[str, ...]:
    """Name the fonts that are missing for the texts of a trace, if any."""
    from attn.viz.fonts import note_missing

    tokens = (token.text for read in manifest.tokens.values() for token in read)
    return note_missing((manifest.request.prompt, *tokens))


def _subject(trace: Trace, dpi: int, vocabulary: Sequence[str]) -> Subject:
    from attn.viz.figures import Subject

    manifest = trace.manifest
    return Subject(
        prompt=manifest.request.prompt or " / ".join(text.prompt for text in manifest.texts),
        seed=manifest.request.seed,
        backend=manifest.backend,
        images=tuple(read_image(trace, sample) for sample in range(manifest.samples)),
        facts=_facts(manifest),
        dpi=dpi,
        strokes=read_lines(trace),
        layers=name_layers(manifest.layers),
        forming=partial(read_forming, trace),
        video=partial(read_video, trace),
        vocabulary=vocabulary or list_vocabulary([manifest.request.prompt]),
    )


def read_lines(trace: Trace) -> Lines:
    """Return the lines of the drawing that a model was given; none if it was given none.

    Raises:
        TraceError: the drawing cannot be read.
    """
    from attn.analysis.sketch.strokes import read_strokes
    from attn.viz.strokes import trace_lines

    return () if trace.sketch() is None else trace_lines(read_strokes(trace))


def _facts(manifest: Manifest) -> dict[str, str]:
    """Return the settings of the generation, as texts for a PNG."""
    request = manifest.request
    facts = {
        "negative_prompt": request.negative,
        "steps": request.steps,
        "guidance_scale": request.guidance,
        "height": request.height,
        "width": request.width,
        "model_id": manifest.model.get("source"),
        "scheduler": request.scheduler,
    }
    return {name: str(value) for name, value in facts.items() if value is not None}
