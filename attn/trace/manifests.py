"""Whether a manifest that was read makes sense, before anything relies on it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import prod

from attn.schema import Layer, Manifest, Request, Segment, Token, Word, block_names, word_at
from attn.schema.layout import GRID_AXES
from attn.words import overlaps

NAME = re.compile(r"\w[\w-]{0,63}")
"""What a segment may be called: its name becomes a folder of results."""

LONGEST = 2**22
"""Longest believable sequence, in positions: a picture of 2048 by 2048 tokens."""
MOST_CHARACTERS = 2**15
"""Most characters of a prompt; so it has at most half as many words."""
MOST_WORDS = 2**14
MOST_TOKENS = 2**17
"""Most tokens of a branch that are believed."""
LARGEST_SIZE = 2**20
"""Most pixels of a side, and most steps, that are believed."""
LARGEST_SEED = 2**64


def problems(manifest: Manifest) -> Iterator[str]:
    """Yield what cannot be true of any trace, in words; nothing if all is well."""
    if manifest.schema < 1 or manifest.samples < 1:
        yield f"schema {manifest.schema} and samples {manifest.samples} must be at least 1"
    if not manifest.branches or _repeats(manifest.branches):
        yield f"branches must be some, each once; got {list(manifest.branches)}"
    for branch in manifest.branches:
        if branch not in manifest.segments or branch not in manifest.tokens:
            yield f"branch {branch!r} has no segments or no tokens"
        yield from segment_problems(f"branch {branch!r}", manifest.segments.get(branch, ()))
    if _repeats(layer.index for layer in manifest.layers):
        yield "two layers have one index"
    if _repeats((layer.tower, layer.path) for layer in manifest.layers):
        yield "two layers of a tower have one path"
    for layer in manifest.layers:
        yield from layer_problems(layer)
    if _repeats(shard.file for shard in manifest.shards):
        yield "one shard is listed twice"
    yield from _request_problems(manifest.request)
    yield from _step_problems(manifest)
    yield from _kept_problems(manifest)
    yield from _column_problems(manifest)
    yield from _text_problems(manifest)


def unsealed_problems(manifest: Manifest) -> Iterator[str]:
    """Yield what no backend writes, in words: for traces without a digest, which may be edited.

    A trace with a digest is as it was written, whatever that is. Under a tap steps and words are
    those of the user.
    """
    if manifest.backend == "tap":
        return
    noise = {step.index: step.noise for step in manifest.steps if step.noise is not None}
    for (step, before), (after, left) in pairwise(noise.items()):
        if left > before:
            yield f"the noise rises from {before:g} in step {step} to {left:g} in step {after}"
    times = [step.timestep for step in manifest.steps if step.timestep is not None]
    if any(abs(time) > LARGEST_SIZE for time in times):
        yield f"timesteps reach {max(times, key=abs):g}, expected at most {LARGEST_SIZE}"
    if times not in (sorted(times), sorted(times, reverse=True)):
        yield f"timesteps go to and fro: {', '.join(f'{time:g}' for time in times[:8])}"
    for layer in manifest.layers:
        if absent := [name for name in layer.blocks if name not in block_names(layer)]:
            yield f"layer {layer.index} has no block {absent[0]!r}"
    yield from _owner_problems(manifest)


def _owner_problems(manifest: Manifest) -> Iterator[str]:
    """Hold the words of the prompt's tokens against the characters that these stand for."""
    words, length = manifest.words, len(manifest.request.prompt)
    for token in manifest.tokens.get("cond", ()):
        where = f"token {token.position} of segment {token.segment!r}"
        if not 0 <= token.start <= token.stop <= length:
            yield f"{where} is characters {token.start} to {token.stop} of a prompt of {length}"
        elif token.start < token.stop and token.is_content:  # else nothing says what it stands for
            owner = word_at(words, token.start, token.stop)
            if (owner is None) != (token.word is None):
                yield f"{where} belongs to word {token.word}, its characters to word {owner}"
            elif token.word is not None and not overlaps(
                words[token.word], token.start, token.stop
            ):
                yield f"{where} belongs to word {token.word}, of which it has no character"


def layer_problems(layer: Layer) -> Iterator[str]:
    """Yield what cannot be true of any layer, in words."""
    if layer.num_heads < 1 or layer.index < 0 or not layer.queries or not layer.keys:
        yield f"layer {layer.index} needs an index from 0, heads, queries and keys"
    yield from segment_problems(f"queries of layer {layer.index}", layer.queries)
    yield from segment_problems(f"keys of layer {layer.index}", layer.keys)


def segment_problems(where: str, segments: Sequence[Segment]) -> Iterator[str]:
    """Yield what cannot be true of the segments of any sequence, in words."""
    if _repeats(segment.name for segment in segments):
        yield f"{where}: two segments have one name"
    end = 0
    for segment in segments:
        if NAME.fullmatch(segment.name) is None:
            yield f"{where}: a segment cannot be called {segment.name[:40]!r}"
        if not end <= segment.start < segment.stop <= LONGEST:
            yield (
                f"{where}: segment {segment.name[:40]!r} is {segment.start} to {segment.stop}, "
                f"expected some positions from {end} on"
            )
        grid = segment.grid or (1, segment.length)
        if len(grid) not in GRID_AXES or min(grid) < 1 or prod(grid) != segment.length:
            sides = "x".join(map(str, grid))
            yield f"{where}: grid {sides} does not hold {segment.length} positions"
        end = segment.stop


def _request_problems(request: Request) -> Iterator[str]:
    sizes = {name: getattr(request, name) for name in ("width", "height", "steps", "frames")}
    for name, size in (sizes | {"images": request.images}).items():
        if size is not None and not 1 <= size <= LARGEST_SIZE:
            yield f"its request has {name} {size}, expected 1 to {LARGEST_SIZE}"
    if not abs(request.seed) < LARGEST_SEED:
        yield f"its request has the seed {request.seed}"


def _step_problems(manifest: Manifest) -> Iterator[str]:
    indices = [step.index for step in manifest.steps]
    if indices != sorted(set(indices)) or min(indices, default=0) < 0:
        yield f"steps must count upwards from 0; got {indices[:8]}"
    for step in manifest.steps:
        if step.noise is not None and not 0 <= step.noise <= 1:
            yield f"step {step.index} has the noise {step.noise:g}, expected 0 to 1"
    of_shards = tuple(shard.step for shard in manifest.shards if shard.step is not None)
    if of_shards not in ((), manifest.steps):
        yield "it lists other steps than its shards are of"
    yield from _count_problems(manifest)


def _count_problems(manifest: Manifest) -> Iterator[str]:
    """Compare how many steps there are with how many were requested: texts may end early."""
    count, requested = len(manifest.steps), manifest.request.steps
    ran = manifest.identity.get("steps", requested)
    if manifest.status == "partial" or not isinstance(ran, int):
        return
    is_text = "steps" not in manifest.identity and any(map(_is_text, manifest.outputs))
    if count > ran or (count < ran and not is_text):
        yield f"it is complete with {count} steps, expected {ran}"


def _is_text(output: str) -> bool:
    return output.endswith(".txt")


def _kept_problems(manifest: Manifest) -> Iterator[str]:
    indices = {layer.index for layer in manifest.layers}
    unknown = [index for index in manifest.kept.layers if index not in indices]
    if unknown:
        yield f"layer {unknown[0]} was kept, which does not exist"
    names = [name for layer in manifest.layers for name in layer.blocks]
    for name in (name for name in (*manifest.kept.blocks, *names) if name.count(".") != 1):
        yield f"no block can be called {name[:40]!r}"


def _column_problems(manifest: Manifest) -> Iterator[str]:
    spans = {
        segment.name: segment
        for branch in manifest.branches[:1]
        for segment in manifest.segments.get(branch, ())
    }
    last: dict[str, int] = {}
    for column in manifest.kept.columns:
        span = spans.get(column.segment)
        if span is None:
            yield f"a column belongs to segment {column.segment[:40]!r}, which does not exist"
            continue
        position = span.stop if column.position is None else column.position  # the rest is last
        if column.position is not None and not span.start <= position < span.stop:
            yield f"column {position} lies outside segment {span.name!r}"
        if position <= last.get(span.name, -1):
            yield f"the columns of segment {span.name!r} do not count upwards"
        last[span.name] = position
    for layer in manifest.layers:
        for segment in layer.keys:
            span = spans.get(segment.name)
            if segment.kind == "text" and span is not None and span.length != segment.length:
                yield (
                    f"segment {span.name!r} has {span.length} positions, but {segment.length} in "
                    f"layer {layer.index}"
                )


def _text_problems(manifest: Manifest) -> Iterator[str]:
    prompt = manifest.request.prompt
    longest = max(map(len, manifest.tokens.values()), default=0)
    if len(manifest.words) > MOST_WORDS or longest > MOST_TOKENS:
        yield f"it has {len(manifest.words)} words and {longest} tokens, more than any"
        return
    if len(prompt) > MOST_CHARACTERS:
        yield f"its prompt has {len(prompt)} characters, expected at most {MOST_CHARACTERS}"
        return
    yield from _word_problems(prompt, manifest.words)
    for branch, tokens in manifest.tokens.items():
        spans = {segment.name: segment for segment in manifest.segments.get(branch, ())}
        yield from _token_problems(branch, tokens, spans, len(manifest.words))
        for name in spans if manifest.backend != "tap" else ():  # a user's mask may hide any key
            if has_gaps([token for token in tokens if token.segment == name]):
                yield f"the padding of {branch!r} has gaps in segment {name!r}"


def _word_problems(prompt: str, words: Sequence[Word]) -> Iterator[str]:
    """Hold words against their prompt by what is true of every rule that finds them.

    Rules differ between versions in what joins letters, but no letter or digit is outside of words.
    """
    end = 0
    for index, word in enumerate(words):
        begin = end + 1 if index else 0  # words that touch are one
        is_in_order = word.index == index and begin <= word.start < word.stop
        text = prompt[word.start : word.stop]
        if not is_in_order or word.text != text or len(text.split()) != 1:
            yield f"its word {index} is not in its prompt: {word.text[:40]!r}"
        end = word.stop
    stops = [0, *(word.stop for word in words)]
    starts = [*(word.start for word in words), len(prompt)]
    between = (prompt[start:stop] for start, stop in zip(stops, starts, strict=True))
    lost = next((text for text in between if any(map(str.isalnum, text))), None)
    if lost is not None:
        yield f"its words leave out a part of its prompt: {lost.strip()[:40]!r}"


def _token_problems(
    branch: str, tokens: Sequence[Token], spans: Mapping[str, Segment], words: int
) -> Iterator[str]:
    for token in tokens:
        span = spans.get(token.segment)
        if span is None or not span.start <= token.position < span.stop:
            yield f"token {token.position} of {branch!r} lies in no segment {token.segment[:40]!r}"
        if branch == "cond" and token.word is not None and not 0 <= token.word < words:
            yield f"token {token.position} belongs to word {token.word}, of {words}"
    positions = [(token.segment, token.position) for token in tokens]
    if _repeats(positions):
        yield f"two tokens of {branch!r} have one position"


def has_gaps(tokens: Sequence[Token]) -> bool:
    """Whether there is anything between two tokens of padding, of one segment."""
    padded = [token.position for token in tokens if token.padding]
    return bool(padded) and len(padded) != 1 + max(padded) - min(padded)


def _repeats(values: Iterable[object]) -> bool:
    listed = list(values)
    return len(set(listed)) < len(listed)
