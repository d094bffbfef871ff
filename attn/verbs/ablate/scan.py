"""`attn ablate --scan`: one variant for every head, layer, block or step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from attn.errors import UsageError
from attn.schema import CutTarget, Intervention, Layer

Scan = Literal["heads", "layers", "blocks", "steps"]
"""What a scan has a variant for."""


@dataclass(frozen=True)
class CutVariant:
    """One cut, or a random control of one.

    Attributes:
        name: as it was typed.
        cuts: what is done.
    """

    name: str
    cuts: tuple[Intervention, ...]

    @property
    def cut(self) -> Intervention:
        """The first, which is the only one of what was typed."""
        return self.cuts[0]

    @property
    def label(self) -> str:
        """What the variant is called, in sentences and above pictures."""
        random = self.cut.target.random
        return f"{self.name} cut" if random is None else f"random {random} like {self.name}"


@dataclass(frozen=True)
class Unit:
    """A part of the model, or a step: what it is called, and the limits of a cut to it."""

    name: str
    layers: tuple[str, ...] = ()
    heads: tuple[int, ...] = ()
    steps: tuple[int, int] | None = None


def scan_cuts(
    scan: Scan,
    cuts: Sequence[CutVariant],
    layers: Sequence[Layer],
    steps: int,
    names: Mapping[int, str],
) -> list[CutVariant]:
    """Return a variant for every unit: each cut within it, or without cuts the unit itself.

    Args:
        scan: the kind of units.
        cuts: what is cut in each; those of layers and heads stay limited to these.
        layers: of the model, those that are captured.
        steps: how many there are.
        names: of layers, as a cut is told them; those of a few layers would be shorter.

    Raises:
        UsageError: steps alone cannot be cut.
    """
    units = list(_units(scan, layers, steps, names))
    if cuts:
        return [_limited(of, unit) for of in cuts for unit in units]
    if scan == "steps":
        raise UsageError("scan: steps needs a --cut, which is then done in one step at a time")
    return [
        CutVariant(
            unit.name,
            (Intervention(CutTarget(layers=unit.layers, heads=unit.heads, queries="all"), "skip"),),
        )
        for unit in units
    ]


def _limited(of: CutVariant, unit: Unit) -> CutVariant:
    """Return a cut that is done in a unit only.

    Raises:
        UsageError: it is limited to something of that kind already.
    """
    target = of.cut.target
    taken = target.steps if unit.steps else target.layers or target.heads
    if taken:
        raise UsageError(f"scan: {of.name} is limited already; leave that out, or --scan")
    limits = {"steps": unit.steps} if unit.steps else {"layers": unit.layers, "heads": unit.heads}
    cut = replace(of.cut, target=replace(target, **limits))
    return CutVariant(f"{of.name} in {unit.name}", (cut,))


def _units(
    scan: Scan, layers: Sequence[Layer], steps: int, names: Mapping[int, str]
) -> Iterator[Unit]:
    if scan == "steps":
        yield from (Unit(f"step {step}", steps=(step, step)) for step in range(steps))
    elif scan == "blocks":
        blocks: dict[str, list[str]] = {}
        for layer in layers:
            blocks.setdefault(names[layer.index].partition(".attn")[0], []).append(str(layer.index))
        yield from (Unit(f"block {name}", tuple(members)) for name, members in blocks.items())
    for layer in layers:
        name, index = names[layer.index], (str(layer.index),)
        if scan == "layers":
            yield Unit(f"layer {name}", index)
        elif scan == "heads":
            for head in range(layer.num_heads):
                yield Unit(f"head {name}.{head}", index, (head,))
