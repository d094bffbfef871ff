"""Controls among the variants of a comparison: what they are of, and what they say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from attn.verbs.compare.controls.cut_effects import CUTS, added_cuts, cut_table, image_effects
from attn.verbs.compare.controls.leak import Leak, find_leak, tabulate_leak
from attn.verbs.compare.controls.weakening import WEAKENING, weakening_rows
from attn.verbs.compare.pairing import ComparedRun
from attn.verbs.compare.variants import Variant

if TYPE_CHECKING:
    from attn.analysis.compare.controls.controls import Effect
    from attn.analysis.compare.controls.roles import Role, Stack
    from attn.analysis.compare.pairs import PairOptions
    from attn.analysis.tables import Table

MOST_DRAWN = 4
"""With more variants than this, controls have no figures of their own."""


@dataclass(frozen=True)
class Controls:
    """Which variants are controls of others.

    Attributes:
        variants: all of them.
        roles: what each is; None is a variant in its own right.
        tables: `null.csv`, `parts.csv`, `leak.csv` and `cuts.csv`, where there are such controls.
        leak: the same variants without the trigger words, if these were generated too.
        effects: what each variant does, if some are random or in part.
    """

    variants: Sequence[Variant]
    roles: Sequence[Role | None]
    tables: Mapping[str, Table] = field(default_factory=dict)
    leak: Leak | None = None
    effects: Sequence[Effect] = ()

    @property
    def named(self) -> dict[str, str]:
        """What each control is of another variant, in words, by what it is called.

        Stacks, and the LoRAs in them, are variants in their own right.
        """
        return {
            variant.label: " ".join(
                filter(None, (role.kind, role.part, f"of {self.variants[role.whole].label}"))
            )
            for variant, role in zip(self.variants, self.roles, strict=True)
            if role is not None and not role.is_stack
        }

    @property
    def plain(self) -> list[Variant]:
        """The variants that are no controls; there is one."""
        pairs = zip(self.variants, self.roles, strict=True)
        return [variant for variant, role in pairs if role is None or role.is_stack]

    @property
    def part_rows(self) -> list[dict[str, Any]]:
        """The rows of `parts.csv`."""
        return self._rows("parts.csv")

    @property
    def nulls(self) -> list[tuple[int, int]]:
        """Indices of each variant with a random control, and of this."""
        return [
            (role.whole, at)
            for at, role in enumerate(self.roles)
            if role is not None and role.kind == "null"
        ]

    @property
    def null_rows(self) -> list[dict[str, Any]]:
        """The rows of `null.csv`."""
        return self._rows("null.csv")

    @property
    def leak_rows(self) -> list[dict[str, Any]]:
        """The rows of `leak.csv`."""
        return self._rows("leak.csv")

    @property
    def cut_rows(self) -> list[dict[str, Any]]:
        """The rows of `cuts.csv`."""
        return self._rows(CUTS)

    @property
    def weakening_rows(self) -> list[dict[str, Any]]:
        """The rows of `weakening.csv`."""
        return self._rows(WEAKENING)

    @property
    def figures(self) -> dict[str, str]:
        """What the variant is called that each figure of one control is of, by the figure's name.

        With several LoRAs the figures are numbered.
        """
        labels = {
            "null": [self.variants[whole].label for whole, _ in self.nulls],
            "parts": list(dict.fromkeys(row["whole_name"] for row in self.part_rows)),
            "leak": [of.label for of in self.plain if self.leak and of.label in self.leak.variants],
        }
        return {
            f"{kind}{f'-{number}' if len(of) > 1 else ''}.png": label
            for kind, of in labels.items()
            for number, label in enumerate(of, 1)
        }

    @property
    def backend(self) -> str:
        """What the traces were made with."""
        from attn.trace.store import read_manifest

        return read_manifest(self.variants[0].members[1].folder).backend

    @property
    def drawn(self) -> list[Variant]:
        """The variants that have figures of their own."""
        if len(self.variants) <= MOST_DRAWN:
            return list(self.variants)
        if CUTS in self.tables:
            ranked = dict.fromkeys(self.tables[CUTS]["cut"])  # the largest effect first
            by_label = {variant.label: variant for variant in self.plain}
            return [by_label[label] for label in ranked][:MOST_DRAWN]
        return self.plain

    def _rows(self, name: str) -> list[dict[str, Any]]:
        from attn.analysis.tables import make_frame

        rows: list[dict[str, Any]] = make_frame(self.tables.get(name, {})).to_dict("records")
        return rows


def find_controls(
    base: ComparedRun,
    variants: Sequence[Variant],
    options: PairOptions,
    parts: Sequence[str] | None,
) -> Controls:
    """Look which variants are controls of others, and hold these against them.

    Args:
        base: the baseline.
        variants: of the comparison.
        options: what is compared.
        parts: what was asked for; without all of it there are no tables of controls.
    """
    from attn.analysis.compare.controls.controls import (
        as_table,
        make_effect,
        null_table,
        part_table,
    )
    from attn.analysis.compare.controls.roles import find_cut_roles, find_roles

    roles = find_roles([_added_loras(variant) for variant in variants])
    if not any(roles):
        roles = find_cut_roles([added_cuts(variant.members) for variant in variants])
    if parts is not None:
        return Controls(variants, roles)
    tables = {}
    leak = find_leak(base, Controls(variants, roles).plain, options)
    if leak is not None:
        tables["leak.csv"] = tabulate_leak(leak, variants)
    cuts = cut_table(variants, roles)
    if cuts is not None:
        tables[CUTS] = cuts
        weakening = as_table(weakening_rows({of.label: image_effects(of) for of in variants}))
        tables |= {} if weakening is None else {WEAKENING: weakening}
    if cuts is not None or not any(roles):
        return Controls(variants, roles, tables, leak)
    effects = [make_effect(variant.label, variant.pairs, options.words) for variant in variants]
    made = {"null.csv": null_table(effects, roles), "parts.csv": part_table(effects, roles)}
    tables |= {name: table for name, table in made.items() if table is not None}
    return Controls(variants, roles, tables, leak, effects)


def _added_loras(variant: Variant) -> Stack:
    """Return the LoRAs of a variant that the baseline has not."""
    from attn.trace.store import read_manifest

    before, after = (read_manifest(member.folder).request.loras for member in variant.members)
    return tuple(lora for lora in after if lora not in before)
