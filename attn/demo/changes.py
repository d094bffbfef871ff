"""What became of the objects of a shapes picture when something else drew it from the same noise.

An object of the second picture is that of the first one which is nearest, unless it is farther away
than `NEAR`. Every change is 1 or 0, and missing where it cannot be told: the colour of an object
that is gone, the relation of two of which one is gone.

- gone         no object is where it was
- colour       of the object, by the judge; other colour: of the other object of the caption
- shape        likewise; what has no shape has another one than what had one
- number       of objects in the picture
- relation     of the two objects, along the axis in which they differ more
- background   its colour
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from attn.demo.judge import Painted, PaintedObject, match, relation
from attn.demo.scenes import Content

CHANGES = (
    *("colour", "shape", "gone", "other colour", "other shape"),
    *("number", "relation", "background"),
)
NEAR = 0.15
"""An object that is farther away, in sides of the picture, is another one."""


def list_changes(
    content: Content, before: Painted, after: Painted, which: int = 0
) -> Mapping[str, float]:
    """Say of each of `CHANGES` whether it happened; nothing where that cannot be said.

    Args:
        content: what was asked for, in both pictures.
        before: the picture that is held against; nothing is said unless it shows every colour that
            was asked for.
        after: the other one.
        which: object of the caption, 0 or 1.
    """
    kinds = [match(kind, before) for kind in content.kinds]
    seen = [kind for kind in kinds if kind is not None]
    if len(seen) < len(kinds):
        return {}
    now = [nearest(kind, after) for kind in seen]
    values: dict[str, float] = {
        "gone": float(now[which] is None),
        "number": float(len(before.objects) != len(after.objects)),
        "background": float(before.background != after.background),
    }
    for index, (old, new) in enumerate(zip(seen, now, strict=True)):
        name = "" if index == which else "other "
        if new is not None:
            values[f"{name}colour"] = float(old.color != new.color)
            values[f"{name}shape"] = float(old.shape != new.shape)
    left = [new for new in now if new is not None]
    if len(seen) > 1 and len(left) == len(seen):
        values["relation"] = float(relation(*seen) != relation(*left))
    return values


def nearest(kind: PaintedObject, picture: Painted) -> PaintedObject | None:
    """Return the object of a picture that is where another one was."""
    closest = min(picture.objects, key=lambda other: _distance(kind, other), default=None)
    return closest if closest is not None and _distance(kind, closest) < NEAR else None


def _distance(first: PaintedObject, second: PaintedObject) -> float:
    return math.dist(first.center, second.center)
