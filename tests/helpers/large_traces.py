"""Traces of the size of real models, with random numbers, for benchmarks of the page."""

from dataclasses import replace

from attn.schema import Column, Segment, Token, find_words
from attn.trace.writer import TraceWriter
from tests.helpers.toy_traces import cross_layer, manifest, tensors


def write_large(folder, *, layers=1, steps=1):
    """Write steps of a picture of 64 × 64 places that reads 115 words: 0.95 MB a layer and step."""
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
    with TraceWriter(folder, about) as writer:
        for step in about.steps:
            writer.put(step, values)
        writer.put(
            None, {name: item.astype("float32") for name, item in values.items() if "/map." in name}
        )
        writer.finish(about)
    return folder
