"""Every way to make one map of a word of many: all that a trace holds.

- mean    as the analysis `words`: mean over layers, steps and heads, on the finest grid
- daam    as DAAM pools, see `words.maps.daam`
- layer   mean over steps and heads of one layer, on its own grid
- head    mean over steps of one head
- step    mean over layers and heads of one step
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.numbers import Numbers
from attn.analysis.words.maps import daam
from attn.analysis.words.select import select_layers
from attn.analysis.words.selection import BLOCK
from attn.errors import AnalysisError
from attn.schema import Layer
from attn.trace.means import MeanMaps, average, image_views
from attn.trace.words.occurrences import find_phrases, select_words
from attn.trace.words.prompts import Prompt, read_prompt
from attn.trace.words.sums import TOGETHER, lay_out, sum_tokens
from attn.words import word_keys

if TYPE_CHECKING:
    from attn.trace.trace import Trace

MEAN, DAAM, LAYER, HEAD, STEP = "mean", "daam", "layer", "head", "step"
WHOLE, CENTRE = "whole picture", "centre"
"""Poolings of the maps that know nothing of a word."""


@dataclass(frozen=True)
class Pooling:
    """What a map is a mean of; see the module's page for the names."""

    name: str
    layer: int | None = None
    head: int | None = None
    step: int | None = None


def list_poolings(trace: Trace) -> Iterator[tuple[Pooling, MeanMaps]]:
    """Yield every pooling with its maps of all samples; the mean first.

    Raises:
        AnalysisError: no layer has maps.
    """
    branch = trace.branches[0]
    kept = set(trace.manifest.kept.layers)
    captured = [layer for layer in trace.layers if layer.index in kept and BLOCK in layer.blocks]
    if not captured:
        raise AnalysisError(f"no layer of {trace.folder} has maps of words: capture with --keep")
    layers = select_layers(captured, ())
    yield Pooling(MEAN), average(trace, BLOCK, layers, None, branch)
    if any(not layer.path.startswith(daam.MIDDLE) for layer in layers):
        yield Pooling(DAAM), daam.pool(trace, BLOCK, layers, None, branch)
    for layer in layers:
        yield from _of_layer(trace, layer)
    if image_views(trace, BLOCK, layers)[0].is_stepwise:
        for step in trace.steps:
            yield (
                Pooling(STEP, step=step.index),
                average(trace, BLOCK, layers, [step.index], branch),
            )


def word_heats(
    trace: Trace, maps: MeanMaps, names: Sequence[str], pooling: str = MEAN
) -> dict[str, Numbers]:
    """Return the maps of words and phrases, (name, sample, row, column), by text segment.

    A word's map is the sum over its tokens, or their mean as `daam` has it; of several occurrences
    the mean. Where there are several text segments, `text` is all of them together.

    Args:
        trace: where the words are.
        maps: of every token.
        names: words and phrases of the prompt.
        pooling: of the maps.

    Raises:
        AnalysisError: the prompt does not have one.
    """
    prompt = read_prompt(trace.manifest, trace.branches[0], tuple(names))
    occurrences = [_find(prompt, name) for name in names]
    segments = dict.fromkeys(token.segment for token in prompt.tokens if token.word is not None)
    heats = {}
    for segment in [*segments, *([TOGETHER] if len(segments) > 1 else [])]:
        groups = [prompt.positions(words, segment) for words, _ in occurrences]
        members = lay_out(maps.columns, groups)
        sums = sum_tokens(maps.values, members)
        sizes = members.sum(0) if pooling == DAAM else np.array([count for _, count in occurrences])
        heats[segment] = np.moveaxis(sums / np.maximum(sizes, 1), -1, 0)
    return heats


def _find(prompt: Prompt, name: str) -> tuple[list[int], int]:
    """Return the words that a name stands for, and how often it stands there."""
    if len(word_keys(name)) > 1:
        phrases = find_phrases(prompt.words, [name], "span")
        return [word for phrase in phrases for word in phrase.words], len(phrases)
    words = select_words(prompt.words, [name])
    return [word.index for word in words], len(words)


def _of_layer(trace: Trace, layer: Layer) -> Iterator[tuple[Pooling, MeanMaps]]:
    branch = trace.branches[0]
    yield Pooling(LAYER, layer.index), average(trace, BLOCK, [layer], None, branch)
    if trace.manifest.kept.level != "heads":
        return
    view = image_views(trace, BLOCK, [layer], "headmap")[0]
    heads = daam.head_means(view, None, trace.branches.index(branch))
    for head in range(0 if heads is None else heads.shape[1]):
        maps = np.asarray(heads)[:, head]
        yield Pooling(HEAD, layer.index, head), MeanMaps(maps, view.columns, (layer.index,))
