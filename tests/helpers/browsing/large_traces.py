"""Traces of the size of real models, with random numbers, for benchmarks of the page."""

from dataclasses import replace

import numpy as np

from attn.schema import Column, Segment, Token, find_words
from attn.trace.writer import TraceWriter
from tests.helpers import toy_texts
from tests.helpers.toy_traces import cross_layer, manifest, tensors


def write_large(folder, *, layers=1, steps=1):
    """Write all steps of a picture as `make_large` makes it, and their mean."""
    about, values = make_large(layers, steps)
    with TraceWriter(folder, about) as writer:
        for step in about.steps:
            writer.put(step, values)
        writer.put(
            None, {name: item.astype("float32") for name, item in values.items() if "/map." in name}
        )
        writer.finish(about)
    return folder


def make_large(layers, steps):
    """Make a picture of 64 × 64 places that reads 115 words: 0.95 MB a layer and step.

    Returns:
        The manifest, and the tensors of each step.
    """
    prompt = " ".join(f"word{at}" for at in range(115))
    words = find_words(prompt)
    clip = Segment("clip", "text", 0, 131)
    tokens = [
        Token(at, "clip", at, item.text, False, False, item.start, item.stop, at)
        for at, item in enumerate(words)
    ]
    tokens += [Token(at, "clip", at, "<pad>", False, True, 0, 0, None) for at in range(115, 131)]
    made = tuple(replace(cross_layer(at, (64, 64), 2), keys=(clip,)) for at in range(layers))
    about = manifest(made, samples=1, steps=steps)
    columns = (*(Column("clip", at) for at in range(115)), Column("clip", None))
    about = replace(
        about,
        words=words,
        segments={"cond": (clip,)},
        tokens={"cond": tuple(tokens)},
        request=replace(about.request, prompt=prompt),
        kept=replace(about.kept, columns=columns),
    )
    (values,) = tensors(replace(about, steps=about.steps[:1])).values()
    return about, values


def write_long(folder, length):
    """Write a step of a text of many tokens, one layer of two heads; 333 tokens are the prompt."""
    segments = (
        Segment("prompt", "text", 0, 333),
        Segment("generated", "text", 333, length, is_generated=True),
    )
    about = toy_texts.manifest(1)
    layer = replace(about.layers[0], num_heads=2, queries=segments, keys=segments)
    names = ["prompt"] * 333 + ["generated"] * (length - 333)
    tokens = tuple(
        Token(at, name, at, f"t{at}", False, False, 0, 0, None) for at, name in enumerate(names)
    )
    columns = tuple(Column(token.segment, token.position) for token in tokens)
    kept = replace(about.kept, layers=(1,), columns=columns)
    about = replace(
        about,
        layers=(layer,),
        segments={"cond": segments},
        tokens={"cond": tokens},
        steps=about.steps[:1],
        request=replace(about.request, steps=1),
        kept=kept,
    )
    row = np.random.default_rng(0).gamma(0.3, size=2 * length).astype(np.float16)
    matrix = np.lib.stride_tricks.sliding_window_view(row, length)[:length] / np.float16(length)
    mass = np.ones((1, 1, 2, length), np.float32)
    with TraceWriter(folder, about) as writer:
        writer.put(
            about.steps[0], {"1/map.all.all": matrix[None, None].copy(), "1/mass.all.all": mass}
        )
        writer.finish(about)
    return folder
