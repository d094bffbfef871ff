"""What is changed of a model while it generates: an act, on a part of its attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ActName = Literal[
    "mask", "scale", "bias", "weigh", "mean", "skip", "swap", "swap_keys", "swap_values"
]

ON_LOGITS: tuple[ActName, ...] = ("mask", "scale", "bias")
"""Acts before the softmax: the model's kernel is given another mask, and does all the rest."""
WITH_AMOUNT: tuple[ActName, ...] = ("scale", "bias", "weigh")
"""Acts that take a number."""
SWAPS: tuple[ActName, ...] = ("swap", "swap_keys", "swap_values")
"""Acts that take keys, values or both from a run with another prompt."""
ROLES = ("content", "special", "padding")
"""What a token of a text can be."""


@dataclass(frozen=True)
class CutTarget:
    """Which part of a model's attention an intervention changes; what is empty selects all.

    Keys are those of `words`, `roles`, `segments`, `positions` and `sinks` together; if none of
    these is set, all keys.

    Attributes:
        layers: indices such as `0-3`, or globs of paths.
        heads: of each of those layers.
        queries: `image`, `text`, `all` or the name of a segment; if it is empty, those of the
            picture, as in its maps, or all of a layer that has none.
        words: of the prompt, each a word or several in a row; all their occurrences.
        roles: of `ROLES`: keys of a text by what their tokens are.
        segments: `image`, `text`, or names of segments.
        positions: (segment, position in it from 0).
        sinks: so many keys, those that receive most on the untreated run of the same sample.
        steps: the first and the last.
        noise: least and most, 0 to 1.
        branch: guidance row; None is each.
        random: seed of as many random keys, heads or layers that take the place of those
            selected; None is those themselves.
    """

    layers: tuple[str, ...] = ()
    heads: tuple[int, ...] = ()
    queries: str = ""
    words: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    positions: tuple[tuple[str, int], ...] = ()
    sinks: int = 0
    steps: tuple[int, int] | None = None
    noise: tuple[float, float] | None = None
    branch: str | None = None
    random: int | None = None

    @property
    def has_keys(self) -> bool:
        """Whether it selects some keys only."""
        return bool(self.words or self.roles or self.segments or self.positions or self.sinks)

    @property
    def text(self) -> str:
        """What it selects, as people type it: `red@layers=up.*,steps=0-9`."""
        keys = [
            *self.words,
            *self.roles,
            *self.segments,
            *(f"keys {segment}:{offset}" for segment, offset in self.positions),
            *([f"sinks:{self.sinks}"] if self.sinks else []),
        ]
        limits = {
            "layers": "+".join(self.layers),
            "heads": "+".join(map(str, self.heads)),
            "queries": self.queries,
            "steps": _range(self.steps),
            "noise": _range(self.noise),
            "branch": self.branch,
            "random": self.random,
        }
        rest = ",".join(
            f"{key}={value}" for key, value in limits.items() if value not in ("", None)
        )
        what = "+".join(keys) or "all"
        return f"{what}@{rest}" if rest else what

    def covers(self, step: int, noise: float | None) -> bool:
        """Whether a step belongs to it; a step of unknown noise belongs to no range of noise."""
        if self.steps is not None and not self.steps[0] <= step <= self.steps[1]:
            return False
        if self.noise is None:
            return True
        return noise is not None and self.noise[0] <= noise <= self.noise[1]


@dataclass(frozen=True)
class Intervention:
    """One change of the model's attention.

    Attributes:
        target: what is changed.
        act: `mask` hides keys from the softmax; `scale` multiplies probabilities before they are
            normalised, `weigh` after it; `bias` adds to the logits; `mean` gives every query the
            mean probabilities of all; `skip` makes them 0, so that nothing is moved; `swap` takes
            keys and values from a run with another prompt, `swap_keys` and `swap_values` one of
            both.
        amount: factor or summand of `WITH_AMOUNT`.
        source: the other prompt of `SWAPS`.
    """

    target: CutTarget
    act: ActName = "mask"
    amount: float | None = None
    source: str = ""

    @property
    def text(self) -> str:
        """What it does, as people read it: `mask red@steps=0-9`."""
        amount = "" if self.amount is None else f"={self.amount:g}"
        source = f"='{self.source}'" if self.source else ""
        return f"{self.act}{amount}{source} {self.target.text}"


def _range(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"{ends[0]:g}-{ends[1]:g}"
