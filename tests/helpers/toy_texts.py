"""Small traces of written texts, made by hand: random attention, and a plan of what was decided."""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from attn.schema import (
    Column,
    Kept,
    Layer,
    Manifest,
    Request,
    Segment,
    Step,
    Token,
    find_words,
)
from attn.trace.store import shard_file
from attn.trace.trace import MemoryFiles, Trace

PROMPT, LENGTH = 5, 11
HEADS, LAYERS, STEPS, SAMPLES = 3, 2, 4, 2
ORDER = ((6, 5, 7, 9, 8, 10), (5, 7, 6, 10, 8, 9))
"""Positions in the order in which they are decided, by sample."""
COUNTS = (2, 1, 2, 1)
MASK = 90
BLOCKS = ("all.all", "prompt.all", "generated.all")
SEGMENTS = (
    Segment("prompt", "text", 0, PROMPT),
    Segment("generated", "text", PROMPT, LENGTH, is_generated=True),
)


def manifest(samples=SAMPLES, level="maps"):
    """Describe a trace of two layers, 1 and 4."""
    layers = tuple(
        Layer(index, "denoiser", f"layers.{index}", "self", HEADS, SEGMENTS, SEGMENTS, BLOCKS)
        for index in (1, 4)
    )
    tokens = tuple(
        Token(
            position,
            "prompt" if position < PROMPT else "generated",
            token_id(0, position),
            f"t{position}",
            False,
            False,
            0,
            0,
            None,
        )
        for position in range(LENGTH)
    )
    columns = tuple(Column(token.segment, token.position) for token in tokens)
    return Manifest(
        status="complete",
        backend="toy",
        model={},
        request=Request("who?", seed=7, steps=STEPS),
        branches=("cond",),
        samples=samples,
        steps=tuple(Step(index, None, 1 - index / STEPS) for index in range(STEPS)),
        layers=layers,
        segments={"cond": SEGMENTS},
        tokens={"cond": tokens},
        words=find_words("who?"),
        truncated={},
        kept=Kept(level, "all", "text", False, ("all.all",), (1, 4), columns),
        identity={},
        shards=(),
        environment={},
        cost={},
    )


def token_id(sample, position):
    """Return the id that is at a position in the end."""
    return 10 + position + 20 * sample * (position >= PROMPT)


def probs(samples=SAMPLES, seed=0):
    """Return what was attended to: (step, layer, sample, head, query, key) float64."""
    rng = np.random.default_rng(seed)
    drawn = rng.gamma(0.4, size=(STEPS, LAYERS, samples, HEADS, LENGTH, LENGTH))
    drawn[..., 3] *= 40  # a sink
    return drawn / drawn.sum(-1, keepdims=True)


def decided(sample, step):
    """Return the positions that a step decides."""
    start = sum(COUNTS[:step])
    return sorted(ORDER[sample][start : start + COUNTS[step]])


def confidence(sample, step, position):
    """Return a number that tells decisions apart."""
    return np.float32(0.1 + 0.07 * step + 0.011 * position + 0.003 * sample)


def written(samples, step):
    """Return the step's measures, (branch, sample, position)."""
    shape = (1, samples, LENGTH)
    tokens = np.full(shape, MASK, np.int32)
    masked, finalised = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    sure = np.full(shape, np.nan, np.float32)
    for sample in range(samples):
        open_now = {index for later in range(step, STEPS) for index in decided(sample, later)}
        now = decided(sample, step)
        for index in range(LENGTH):
            if index not in open_now or index in now:
                tokens[0, sample, index] = token_id(sample, index)
            masked[0, sample, index] = index in open_now
            finalised[0, sample, index] = index in now
            if index in open_now:
                sure[0, sample, index] = confidence(sample, step, index)
    return {
        "step/tokens": tokens,
        "step/masked": masked,
        "step/finalised": finalised,
        "step/confidence": sure,
    }


def make_text(samples=SAMPLES, level="maps", seed=0):
    """Return a trace in memory, and its exact probs."""
    about, exact = manifest(samples, level), probs(samples, seed)
    files = {}
    for step in range(STEPS):
        shard = files[shard_file(about.steps[step])] = written(samples, step)
        for index, layer in enumerate(about.layers):
            shard |= fold(layer.index, exact[step, index], level)
    return Trace(MemoryFiles(about, files)), exact


def make_growing(samples=SAMPLES):
    """Return a trace in memory whose first step reads the prompt, each further one a token."""
    exact = np.tril(probs(samples)[0])
    exact /= exact.sum(-1, keepdims=True)
    ends = range(PROMPT, LENGTH + 1)
    spans = [(0, PROMPT), *pairwise(ends)]
    about = manifest(samples)
    steps = tuple(Step(index, None, None, span) for index, span in enumerate(spans))
    request = replace(about.request, steps=None)
    about = replace(about, steps=steps, request=request, schema=2)
    files = {}
    for step, (start, stop) in zip(steps, spans, strict=True):
        shard = files[shard_file(step)] = {}
        for position, layer in enumerate(about.layers):
            rows = exact[position, :, :, start:stop, :stop]
            part = "prompt" if start == 0 else "generated"
            tensors = {"map.all.all": rows.mean(1).astype(np.float16)}
            tensors |= {f"mass.{name}.all": rows.mean(2) for name in ("all", part)}
            for name, tensor in tensors.items():
                dtype = np.float16 if name.startswith("map") else np.float32
                shard[f"{layer.index}/{name}"] = tensor[None].astype(dtype)
    return Trace(MemoryFiles(about, files)), exact


def fold(index, full, level):
    """Return the measures of one layer as a capture keeps them, from (sample, head, query, key)."""
    rows = {"all": slice(None), "prompt": slice(0, PROMPT), "generated": slice(PROMPT, None)}
    result = {}
    for name, some in rows.items():
        part = full[:, :, some]
        split = [part[..., :PROMPT].sum(-1).mean(-1), part[..., PROMPT:].sum(-1).mean(-1)]
        result[f"mass.{name}.all"] = part.mean(2)
        result[f"total.{name}"] = np.stack(split, -1)
        result[f"entropy.{name}.all"] = -(part * np.log(part)).sum(-1).mean(-1)
    tensors = {f"{index}/{name}": value[None].astype(np.float32) for name, value in result.items()}
    if level in ("maps", "factors"):
        tensors[f"{index}/map.all.all"] = full.mean(1)[None].astype(np.float16)
    if level == "heads":
        tensors[f"{index}/headmap.all.all"] = full[None].astype(np.float16)
    if level == "factors":  # scale · query · keyᵀ = ln probs, with a channel for every key
        query = np.log(full)[None]
        tensors[f"{index}/query"] = query.astype(np.float32)
        tensors[f"{index}/key"] = np.broadcast_to(np.eye(LENGTH, dtype=np.float32), query.shape)
        tensors[f"{index}/lse"] = np.zeros(query.shape[:-1], np.float32)
        tensors[f"{index}/scale"] = np.ones((1, len(full)), np.float32)
    return tensors
