"""What an analysis needs of a trace, and what to capture with where it is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from attn.schema import SKETCH, Kind, Layer, Level, Manifest, SegmentKind, part


@dataclass(frozen=True)
class Needs:
    """What a trace must hold.

    Attributes:
        segments: kinds of segments that some captured layer has.
        measures: `<measure>.<block>` that some captured layer has.
        kinds: some captured layer must be of one of these kinds; empty is any.
        texts: the model must read a text, and no picture.
        written: the model must write a text.
        decided: the trace must say what each step decided of it.
        stepwise: maps must be kept of every step, not only their mean.
        words: the prompt has words.
        image_keys: the masses of image keys, wherever pictures attend to text and to themselves.
        all_keys: a map column for every key.
        sketch: the model was given a drawing.
        gates: gates act on some captured layer.
        video: some captured layer's images have frames.
        concepts: words outside the prompt were looked for.
        by_block: it is about those traces only of which the blocks of the measures were kept.
    """

    segments: tuple[SegmentKind, ...] = ()
    measures: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    texts: bool = False
    written: bool = False
    decided: bool = False
    stepwise: bool = False
    words: bool = False
    image_keys: bool = False
    all_keys: bool = False
    sketch: bool = False
    gates: bool = False
    video: bool = False
    concepts: bool = False
    by_block: bool = False


@dataclass(frozen=True)
class Lack:
    """What is missing, and the options of `attn capture` that bring it; None if none would."""

    reason: str
    enable: str | None

    def __str__(self) -> str:
        return self.reason + (f"; capture with {self.enable}" if self.enable else "")


_LEVELS: dict[str, tuple[Level, ...]] = {
    **dict.fromkeys(("map", "share_max", "peak"), ("maps", "means", "heads", "factors")),
    "headmap": ("heads", "factors"),
    "query": ("factors",),
    "key": ("factors",),
    "lse": ("factors",),
}
"""The levels that keep a measure, or what gives it, the one to recommend first.

Every level keeps the measures that are not named.
"""

_PLURALS = {"query": "queries", "lse": "lse", "share_max": "largest shares (share_max)"}


def find_concern(manifest: Manifest) -> Callable[[Needs], bool]:
    """Return what says whether a trace is of the kind of model that an analysis is about.

    It is told the needs of the analysis.
    """
    is_of_text, is_growing = _is_of_text(manifest), _is_growing(manifest)
    is_gated = any(layer.gates for layer in manifest.layers)

    def concerns(needs: Needs) -> bool:
        return (
            not (needs.decided and is_growing)
            and (needs.texts or needs.written) == is_of_text
            and (is_gated or not needs.gates)
            and (is_video(manifest) or not needs.video)
            and (_has_sketch(manifest) or not needs.sketch)
            and (bool(manifest.request.concepts) or not needs.concepts)
            and not (needs.by_block and _blocks(needs) - {*manifest.kept.blocks})
        )

    return concerns


def _blocks(needs: Needs) -> set[str]:
    """Return the blocks of the measures."""
    return {measure.partition(".")[2] for measure in needs.measures}


def find_lack(needs: Needs, manifest: Manifest) -> Lack | None:
    """Return the first thing that a trace lacks, or None if it has all."""
    lack = _find(needs, manifest)
    if lack is None or manifest.backend != "tap":
        return lack
    level = (lack.enable or "").partition("--keep ")[2].partition(" ")[0]
    return replace(lack, enable=f"attn.tap(keep='{level}')" if level else None)


def _find(needs: Needs, manifest: Manifest) -> Lack | None:
    layers = manifest.layers
    for segment in needs.segments:
        if not any(_has(layer, segment) for layer in layers):
            return Lack(f"{segment} segments, which no captured layer has", None)
    if needs.video and not is_video(manifest):
        return Lack("a video, of which no captured layer has frames", None)
    lack = _find_text(needs, manifest) or _find_measures(needs.measures, manifest)
    if lack:
        return lack
    if needs.stepwise and manifest.kept.level == "means":
        return Lack("the maps of every step, of which only the mean was kept", "--keep maps")
    if needs.kinds and not any(layer.kind in needs.kinds for layer in layers):
        return Lack(f"{' or '.join(needs.kinds)} layers, of which none was captured", None)
    return _find_rest(needs, manifest)


def _find_text(needs: Needs, manifest: Manifest) -> Lack | None:
    if needs.written and not _is_written(manifest):
        return Lack("a text that the model wrote, of which there is none", None)
    if needs.texts and not _is_of_text(manifest):
        return Lack("a text, which no captured layer reads alone", None)
    if needs.decided and not records_decisions(manifest):
        return Lack("what each step decided, which this trace does not say", None)
    return None


def _find_measures(measures: tuple[str, ...], manifest: Manifest) -> Lack | None:
    """Look for measures, and for a layer that has the blocks of all of them."""
    lacks = (_find_measure(measure, manifest) for measure in measures)
    lack = next(filter(None, lacks), None)
    blocks = _blocks(Needs(measures=measures))
    if lack or any(blocks <= {*layer.blocks} for layer in manifest.layers):
        return lack
    return Lack(f"{' and '.join(sorted(blocks))} in one layer, which none has", None)


def _find_rest(needs: Needs, manifest: Manifest) -> Lack | None:
    if needs.sketch and not _has_sketch(manifest):
        enable = "a backend that reads drawings and --sketch FILE"
        return Lack("a sketch, which the model was not given", enable)
    if needs.words and not manifest.words:
        return Lack("words, of which the prompt has none", None)
    if needs.image_keys and any(_lacks_image_keys(layer) for layer in manifest.layers):
        return Lack("the masses of image keys, which were not kept", "--mass full")
    if needs.gates and not any(layer.gates for layer in manifest.layers):
        return Lack("gates, which act on no captured layer", None)
    if needs.all_keys and manifest.kept.keys != "all":
        return Lack("maps of every key, of which only the prompt's were kept", "--keys all")
    return _find_concepts(manifest) if needs.concepts else None


def _find_concepts(manifest: Manifest) -> Lack | None:
    """Look for maps of concepts."""
    if not manifest.request.concepts:
        return Lack("concepts, of which none were given", "--concepts WORD,WORD")
    if manifest.kept.level == "means" and manifest.status == "partial":
        return Lack("the means of concepts' maps, which are written at the end", "--resume")
    return None


def _has_sketch(manifest: Manifest) -> bool:
    return SKETCH in manifest.outputs


def _is_written(manifest: Manifest) -> bool:
    keys = (segment for layer in manifest.layers for segment in layer.keys)
    return any(segment.is_generated and segment.kind == "text" for segment in keys)


def _is_of_text(manifest: Manifest) -> bool:
    """Whether the model writes a text, or reads one and no picture."""
    kinds = {each.kind for layer in manifest.layers for each in (*layer.queries, *layer.keys)}
    return _is_written(manifest) or kinds - {"sink"} == {"text"}


def records_decisions(manifest: Manifest) -> bool:
    """Whether a trace says what was written, and when: a tap sees no decisions.

    A text that grows needs no record: what a step writes is what the next one reads.
    """
    return manifest.backend != "tap" and not _is_growing(manifest)


def is_video(manifest: Manifest) -> bool:
    """Whether the images of some captured layer are a video's, of more than one frame."""
    return any(layer.frames > 1 for layer in manifest.layers)


def _is_growing(manifest: Manifest) -> bool:
    return any(step.span is not None for step in manifest.steps)


def _lacks_image_keys(layer: Layer) -> bool:
    """Whether a layer's pictures attend to text and to themselves, and only one was kept."""
    reads = {segment.kind for segment in layer.keys}
    lacks_image = "image.text" in layer.blocks and "image.image" not in layer.blocks
    return reads == {"image", "text"} and lacks_image


def _has(layer: Layer, kind: SegmentKind) -> bool:
    return any(segment.kind == kind for segment in (*layer.queries, *layer.keys))


def _is_reached(rows: str, manifest: Manifest) -> bool:
    """Whether a kept step has rows of a segment; of a text that grows, some may have none."""
    parts = [part for parts in manifest.segments.values() for part in parts if part.name == rows]
    spans = [step.span for step in manifest.steps]
    return not parts or any(
        span is None or (span[0] < part.stop and part.start < span[1])
        for part in parts
        for span in spans
    )


def _find_measure(needed: str, manifest: Manifest) -> Lack | None:
    """Look for a measure; the small ones are also kept of blocks that were not asked for."""
    measure, _, block = needed.partition(".")
    levels = _LEVELS.get(measure)
    by_product = any(block in layer.blocks for layer in manifest.layers)
    rows = block.partition(".")[0]
    if by_product and not _is_reached(rows, manifest):
        return Lack(f"the block {block}: no step that was kept reads anything of '{rows}'", None)
    is_requested = block in manifest.kept.blocks or measure in ("share_max", "peak")
    if rows == "text" and not any(part(layer.queries, rows) for layer in manifest.layers):
        return Lack(f"the block {block}: no captured layer's text reads anything", None)
    if not by_product or (levels and not is_requested):
        return Lack(f"the block {block}, which was not captured", f"--blocks {block}")
    if measure == "map" and manifest.kept.level == "means" and manifest.status == "partial":
        return Lack(f"the means of {block}, which are written at the end", "--resume")
    if levels and manifest.kept.level not in levels:
        several = _PLURALS.get(measure, f"{measure}s")
        return Lack(f"{several} of {block}, which were not kept", f"--keep {levels[0]}")
    return None
