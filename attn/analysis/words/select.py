"""Choose layers, steps and words of a trace by what a user typed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from attn.errors import AnalysisError, did_you_mean
from attn.schema import Layer, Step, Word, in_range, layer_matches
from attn.words import find_spans, fold


@dataclass(frozen=True)
class Occurrence(Word):
    """One word of the prompt.

    Attributes:
        index: place among all words of the prompt, from 0.
        text: as it is written there.
        start: its first character in the prompt.
        stop: the one after its last.
        number: place among the equal words, from 1; case and normal form do not count.
        is_repeated: whether there are equal words.
    """

    number: int
    is_repeated: bool

    @property
    def label(self) -> str:
        """The word, with its number where it is repeated."""
        return f"{self.text} ({self.number})" if self.is_repeated else self.text


def find_occurrences(words: Sequence[Word]) -> tuple[Occurrence, ...]:
    """Number each word of a prompt among its equals."""
    keys = [fold(word.text) for word in words]
    total, seen = Counter(keys), Counter[str]()
    found = []
    for word, key in zip(words, keys, strict=True):
        seen[key] += 1
        place = (word.index, word.text, word.start, word.stop)
        found.append(Occurrence(*place, seen[key], total[key] > 1))
    return tuple(found)


def select_words(
    words: Sequence[Occurrence], names: Sequence[str] | None
) -> tuple[Occurrence, ...]:
    """Return every occurrence of the named words, in the order of the prompt; None is all words.

    Raises:
        AnalysisError: the prompt has no words, or not one of the names.
    """
    if not words:
        raise AnalysisError("the prompt has no words")
    if names is None:
        return tuple(words)
    known = {fold(word.text): word.text for word in words}
    for name in names:
        if fold(name) not in known:
            is_phrase = bool(find_spans(words, name))
            hint = " It is a phrase there." if is_phrase else did_you_mean(fold(name), known)
            listed = ", ".join(known.values())
            raise AnalysisError(f"the prompt has no word '{name}'.{hint} Its words: {listed}.")
    wanted = {fold(name) for name in names}
    return tuple(word for word in words if fold(word.text) in wanted)


def select_layers(
    layers: Sequence[Layer],
    patterns: Sequence[str],
    *,
    captured: Sequence[Layer] = (),
    having: str = "text keys",
) -> tuple[Layer, ...]:
    """Return the layers that match one of the patterns, in order.

    Args:
        layers: to choose from, not empty.
        patterns: `7`, `0-11`, a glob of the path, or `tower:glob`; empty is the first tower, so
            that a ControlNet is not averaged into the model that paints.
        captured: all layers of the trace, of which `layers` are those that an analysis can use.
        having: what these have and others lack, for the message.

    Raises:
        AnalysisError: a pattern matches nothing.
    """
    if not patterns:
        return tuple(layer for layer in layers if layer.tower == layers[0].tower)
    for pattern in patterns:
        if not any(layer_matches(layer, pattern) for layer in layers):
            raise AnalysisError(_explain_layers(layers, pattern, captured, having))
    return tuple(
        layer for layer in layers if any(layer_matches(layer, pattern) for pattern in patterns)
    )


def select_steps(steps: Sequence[Step], patterns: Sequence[str]) -> tuple[int, ...]:
    """Return the indices of the steps in one of the ranges `7` or `0-9`; no range is every step.

    Raises:
        AnalysisError: a range matches nothing.
    """
    indices = [step.index for step in steps]
    for pattern in patterns:
        if not any(in_range(index, pattern) for index in indices):
            known = f"{indices[0]} to {indices[-1]}"
            raise AnalysisError(f"no captured step matches '{pattern}'; there are {known}")
    if not patterns:
        return tuple(indices)
    return tuple(
        index for index in indices if any(in_range(index, pattern) for pattern in patterns)
    )


def _explain_layers(
    layers: Sequence[Layer], pattern: str, captured: Sequence[Layer], having: str
) -> str:
    first, last = layers[0], layers[-1]
    known = f"{first.index} ({first.path}) to {last.index} ({last.path})"
    lacking = [layer.path for layer in captured if layer_matches(layer, pattern)]
    if not lacking:
        return f"no captured layer matches '{pattern}'; there are {known}"
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    return (
        f"no layer with {having} matches '{pattern}', which is {lacking[0]}{more}; "
        f"the captured ones with {having} are {len(layers)}, from {known}"
    )
