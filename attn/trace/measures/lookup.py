"""Find a measure in a trace, or say what would have to be captured for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from attn.errors import TraceError
from attn.schema import CONCEPT_MEASURES, Layer
from attn.trace.measures.axes import LISTED, query_image
from attn.trace.measures.growing import GrowingView
from attn.trace.measures.sources import TensorSource
from attn.trace.measures.views import MeasureView
from attn.trace.shapes import is_of_growing
from attn.wording import list_some

_REMEDY = {
    "map": "--keep maps (or means)",
    "headmap": "--keep heads",
    "entropy": "--entropy",
    "mass": "--mass full, or this block in --blocks",
    **dict.fromkeys(("share_max", "peak"), "--keep maps (or means)"),
    **dict.fromkeys(("query", "key", "lse", "scale"), "--keep factors"),
    **dict.fromkeys(CONCEPT_MEASURES, "--concepts"),
    "concept_key": "--concepts and --keep factors",
}


def find(
    source: TensorSource,
    name: str,
    layer: Layer,
    block: str | None,
    *,
    lay_out: bool = False,
    by_frame: bool = False,
) -> MeasureView:
    """Find a measure in the shards; where there is no `map` it is made of `headmap`.

    Args:
        source: the trace.
        name: a name in `MEASURES`.
        layer: of which layer.
        block: of which block; for `total`, `gate` and concepts the query part, None for factors.
        lay_out: give queries that are one image the axes (row, column); of a video, the mean over
            its frames.
        by_frame: give those of a video the axes (frame, row, column).

    Raises:
        TraceError: the trace does not hold it.
    """
    shards = source.manifest.shards
    steps = tuple(shard for shard in shards if shard.step is not None)
    means = tuple(shard for shard in shards if shard.step is None)
    image = query_image(layer, block) if lay_out or by_frame else None
    places = (image.plane, image.frames, by_frame and image.frames > 0) if image else ()
    stored = ("map", "headmap") if name == "map" else (name,)
    tensors = [f"{layer.index}/{kind}" + (f".{block}" if block else "") for kind in stored]
    for group in filter(None, (steps, means)):
        is_growing = is_of_growing(group)
        held = [source.tensors(shard.file) for shard in (group if is_growing else group[:1])]
        for tensor in tensors:
            if any(tensor in names for names in held):
                kind = GrowingView if is_growing else MeasureView
                return kind(source, group, tensor, name, layer, block, *places)
    raise_absent(source, name, layer, block)


def raise_absent(source: TensorSource, name: str, layer: Layer, block: str | None) -> NoReturn:
    """Raise an error that names what the trace has of a layer, and how to capture the rest."""
    where, kept = source.folder or "the trace", source.manifest.kept
    if not source.manifest.shards:
        raise TraceError(f"{where} has no finished step: capture it again")
    held = [name for shard in source.manifest.shards[-2:] for name in source.tensors(shard.file)]
    measures = dict.fromkeys(
        name.split("/")[1] for name in held if name.startswith(f"{layer.index}/")
    )
    requested = f"{name}.{block}" if block else name
    has = (
        f"of this layer it has {list_some(measures, LISTED)}"
        if measures
        else f"it has layers {list_some(kept.layers, LISTED)}"
    )
    state = f"'{kept.level}', {source.manifest.status}"
    raise TraceError(
        f"{where} has no {requested} of layer {layer.index} ({layer.path}): its level is "
        f"{state}; {has}{_remedy(name, block, measures, kept.level)}"
    )


def _remedy(name: str, block: str | None, held: Iterable[str], level: str) -> str:
    """Suggest how to get a measure of a block, given what the trace has of the layer."""
    blocks = [tensor.partition(".")[2] for tensor in held if tensor.startswith(f"{name}.")]
    if "all.all" in blocks:
        return f"; its rows are part of {name}.all.all"
    if blocks:
        return f"; capture with --blocks {','.join([*blocks, block or ''])}"
    remedy = _REMEDY.get(name, level)
    return "" if level in remedy else f"; capture with {remedy}"
