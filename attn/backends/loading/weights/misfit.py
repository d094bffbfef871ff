"""Why the weights of a checkpoint do not fit a model, in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from attn.wording import cut

NAMED = 3
WIDEST = 120


@dataclass(frozen=True)
class Misfit:
    """Why weights do not fit; all empty if they do.

    Attributes:
        missing: names that the model needs.
        unexpected: names for which the model has no place.
        misshapen: names with both shapes.
        failure: what the converter said where it could not go on.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    failure: str = ""

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen or self.failure)

    def __str__(self) -> str:
        """Return counts, and the first names of each kind."""
        if self.failure:
            return f"its tensors cannot be converted ({self.failure})"
        kinds = (
            (self.missing, "missing"),
            (self.unexpected, "unexpected"),
            (self.misshapen, "of another shape"),
        )
        return "; ".join(
            f"{len(names)} {kind} ({', '.join(map(shown, names[:NAMED]))} …)"
            for names, kind in kinds
            if names
        )


def misshapen(name: str, got: Iterable[int], expected: Iterable[int]) -> str:
    """Return the name of a weight with both its shapes."""
    return f"{name}: {list(got)}, expected {list(expected)}"


def shown(name: str) -> str:
    """Return a name from a file for a message, short and without control characters."""
    return cut(name if name.isprintable() else ascii(name), WIDEST)
