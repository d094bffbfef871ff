"""The options of `attn evaluate`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

from attn.errors import UsageError
from attn.verbs import checks, parsing
from attn.verbs.options import (
    About,
    Engine,
    Pictures,
    ReadShard,
    Told,
    Traces,
    Words,
    Workers,
    validate,
)

THRESHOLDS = (0.3, 0.5, 0.7)
SHAPES = "shapes"


def _thresholds(name: str, value: Any) -> tuple[float, ...]:
    """Return thresholds of a map that is scaled to 0-1."""
    listed = parsing.as_tuple(value) if isinstance(value, str) else tuple(value)
    shown = ",".join(map(str, listed))
    try:
        numbers = tuple(float(item) for item in listed)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}: expected numbers such as 0.3,0.5; got '{shown}'") from error
    if not numbers or not all(isfinite(number) and 0 < number <= 1 for number in numbers):
        raise UsageError(f"{name}: expected numbers above 0, up to 1; got '{shown}'")
    return tuple(dict.fromkeys(numbers))


def _truth(name: str, value: Any) -> str:
    """Return a folder, or `shapes`; a folder of that name is `./shapes`."""
    if value == SHAPES:
        return SHAPES
    folder = str(checks.folder(name, value))
    return f"./{folder}" if folder == SHAPES else folder


@dataclass(frozen=True)
class EvaluateOptions:
    """What `attn evaluate` takes."""

    path: Traces
    _: KW_ONLY
    truth: Annotated[
        str | Path | None,
        About(
            "Where words are: shapes (as the demo models paint), or a folder of masks.",
            check=_truth,
        ),
    ] = None
    sinks: Annotated[bool, About("Hold the published rules of attention sinks side by side.")] = (
        False
    )
    words: Words = None
    thresholds: Annotated[
        Sequence[float] | Iterable[float],
        About(
            "Of overlap: parts of a map's range, NUMBER,NUMBER,…",
            python="Of overlap: parts of a map's range, 0 to 1.",
            read=parsing.split,
            check=_thresholds,
        ),
    ] = THRESHOLDS
    pictures: Pictures = True
    out: Annotated[
        str | Path | None,
        About(
            "Folder of results. [default: TRACE/evaluation]", ("--out", "-o"), check=checks.folder
        ),
    ] = None
    shard: ReadShard = None
    workers: Workers = None
    engine: Engine = "local"
    report: Told = None

    def __post_init__(self) -> None:
        validate(self)
        if self.truth is None and not self.sinks:
            raise UsageError(
                "truth: nothing to hold maps against; give --truth shapes, --truth DIR with masks, "
                "or --sinks"
            )
