"""As many others of the same kind, drawn at random: what an intervention is held against."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from random import Random

from attn.engine.interventions.targets import BranchText, Offset, list_keys
from attn.errors import RequestError
from attn.schema import Layer


def draw_offsets(
    offsets: frozenset[Offset],
    layers: Sequence[Layer],
    text: BranchText,
    random: Random,
    spared: frozenset[Offset] = frozenset(),
) -> frozenset[Offset]:
    """Return as many other keys of each segment: of the same role while there are some, then any.

    Args:
        offsets: those that are cut.
        layers: that read them.
        text: that is read.
        random: draws.
        spared: keys that are never drawn.

    Raises:
        RequestError: a segment has fewer others.
    """
    roles = {key.offset: key.role for of in layers for key in list_keys(of, text.sequence)}
    by_segment = defaultdict(list)
    for offset in sorted(offsets & roles.keys()):
        by_segment[offset[0]].append(offset)
    drawn: set[Offset] = set()
    for segment, taken in by_segment.items():
        others = sorted(of for of in roles if of[0] == segment and of not in offsets | spared)
        if len(others) < len(taken):
            raise RequestError(
                f"cut: {len(taken)} keys of {segment} are cut, but only {len(others)} others are "
                "there, so no random control cuts as many; leave --random out, or cut fewer"
            )
        alike = {roles[of] for of in taken}
        random.shuffle(others)
        drawn |= set(sorted(others, key=lambda of: roles[of] not in alike)[: len(taken)])
    return frozenset(drawn)


def draw_heads(
    selected: Sequence[tuple[int, int]], layers: Sequence[Layer], random: Random
) -> list[tuple[int, int]]:
    """Return as many other (layer, head) of layers of the same kinds.

    Raises:
        RequestError: there are fewer others.
    """
    kinds = {layer.kind for layer in layers if layer.index in {index for index, _ in selected}}
    others = [
        (layer.index, head)
        for layer in layers
        for head in range(layer.num_heads)
        if layer.kind in kinds and (layer.index, head) not in selected
    ]
    if len(others) < len(selected):
        raise RequestError(
            f"cut: {len(selected)} heads are cut, but only {len(others)} others of such layers are "
            "there, so no random control cuts as many; leave --random out, or cut fewer"
        )
    return sorted(random.sample(others, len(selected)))


def draw_layers(selected: Sequence[Layer], layers: Sequence[Layer], random: Random) -> list[Layer]:
    """Return as many other layers of the same kinds.

    Raises:
        RequestError: there are fewer others.
    """
    kinds = {layer.kind for layer in selected}
    others = [layer for layer in layers if layer.kind in kinds and layer not in selected]
    if len(others) < len(selected):
        raise RequestError(
            f"cut: {len(selected)} layers are cut, but only {len(others)} others of such kinds are "
            "there, so no random control cuts as many; leave --random out, or cut fewer"
        )
    return random.sample(others, len(selected))
