"""Small traces with the probabilities that they were folded from, to recompute tables from.

Two joint layers over picture, clip and t5, of which everything small was kept (`--mass full`).
"""

from dataclasses import replace

import numpy as np

from attn.schema import Step, block_columns, part, positions
from attn.trace.store import shard_file
from attn.trace.trace import MemoryFiles, Trace
from tests.helpers.toy_traces import JOINT, manifest

BLOCKS = ("image.text", "image.image", "text.text", "text.image")
NOISE = (1.0, 0.7, 0.2)

SINK, IMAGE_SINK = 15, 4
"""Keys of the first layer that receive much: clip's first token, and one place of the picture."""


def full_manifest(*, blocks=BLOCKS, **arguments):
    """Describe a trace of two guidance rows, two samples and three steps."""
    about = manifest(JOINT, **{"branches": ("cond", "uncond"), "level": "mass"} | arguments)
    layers = tuple(replace(layer, blocks=blocks) for layer in about.layers)
    steps = tuple(Step(step.index, step.timestep, NOISE[step.index]) for step in about.steps)
    mass = "full" if blocks == BLOCKS else "text"
    return replace(about, layers=layers, steps=steps, kept=replace(about.kept, mass=mass))


def make_probs(about, seed=0):
    """Return whole rows by (step, layer): (branch, sample, head, query, key), float64."""
    rng = np.random.default_rng(seed)
    probs = {}
    for step in about.steps:
        for layer in about.layers:
            shape = (len(about.branches), about.samples, layer.num_heads)
            rows = rng.gamma(0.5, size=(*shape, layer.num_queries, layer.num_keys))
            if layer.index == 0:
                rows[..., SINK] *= 90
                rows[..., IMAGE_SINK] *= 30
            probs[step.index, layer.index] = rows / rows.sum(-1, keepdims=True)
    return probs


def block(probs, layer, name):
    """Return one block of whole rows."""
    queries, keys = name.split(".")
    own = probs[..., positions(part(layer.queries, queries)), :]
    return own[..., positions(part(layer.keys, keys))]


def share_of(probs, layer):
    """Return the part of the text's mass that each text key has at every place, mean over heads."""
    text = block(probs, layer, "image.text").mean(2)
    return text / text.sum(-1, keepdims=True)


def fold(about, probs):
    """Return the files that a capture would write, in float32."""
    files = {shard_file(step): {} for step in about.steps}
    for (step, index), rows in probs.items():
        layer = next(item for item in about.layers if item.index == index)
        kept = {f"mass.{name}": block(rows, layer, name).mean(3) for name in layer.blocks}
        share = share_of(rows, layer)
        kept |= {"share.image.text": share.mean(2), "share_max.image.text": share.max(2)}
        for query in ("image", "text"):
            parts = [
                block(rows, layer, f"{query}.{item.name}").sum(-1).mean(-1) for item in layer.keys
            ]
            kept[f"total.{query}"] = np.stack(parts, -1)
        named = {f"{index}/{name}": value.astype(np.float32) for name, value in kept.items()}
        files[shard_file(Step(step, None, None))] |= named
    return files


def make_full(**arguments):
    """Return a trace in memory, its manifest, and its probabilities."""
    about = full_manifest(**arguments)
    probs = make_probs(about)
    return Trace(MemoryFiles(about, fold(about, probs))), about, probs


def make_related():
    """Return a trace with maps of all four blocks as well, its manifest, and its probabilities."""
    about = full_manifest(level="maps")
    about = replace(about, kept=replace(about.kept, blocks=BLOCKS))
    probs = make_probs(about)
    files = fold(about, probs)
    for (step, index), rows in probs.items():
        layer = next(item for item in about.layers if item.index == index)
        for name in BLOCKS:
            values = block(rows, layer, name).mean(2)
            if name.endswith(".text"):
                values = _gather(block_columns(layer, name, about.kept.columns), values)
            shard = files[shard_file(Step(step, None, None))]
            shard[f"{index}/map.{name}"] = values.astype(np.float32)
    return Trace(MemoryFiles(about, files)), about, probs


def _gather(columns, values):
    """Keep the columns of content, and one of the rest of each segment."""
    spans = {"clip": range(11), "t5": range(11, 24)}
    single = {column.position for column in columns}
    parts = []
    for column in columns:
        rest = [at for at in spans[column.segment] if at not in single]
        keys = rest if column.position is None else [column.position]
        parts.append(values[..., keys].sum(-1))
    return np.stack(parts, -1)
