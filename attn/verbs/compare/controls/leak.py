"""Whether a LoRA acts without its trigger words: the same variants, generated without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from attn.errors import DamagedError
from attn.files.disk import is_file, is_folder
from attn.files.outside import read_json
from attn.verbs.compare.pairing import ComparedRun, open_run
from attn.verbs.compare.runs.variant_runs import WITHOUT
from attn.verbs.compare.variants import Variant, compare_traces

if TYPE_CHECKING:
    from attn.analysis.compare.pairs import PairOptions
    from attn.analysis.tables import Table

LEAK = "leak.json"
"""Which words were left out of which prompts."""
SCHEMA = 1


@dataclass(frozen=True)
class Leak:
    """Variants from prompts without the trigger words.

    Attributes:
        triggers: the words.
        prompts: those without them, by those with them.
        variants: without them, by the label of the variant with them.
    """

    triggers: tuple[str, ...]
    prompts: Mapping[str, str]
    variants: Mapping[str, Variant]


def find_leak(base: ComparedRun, variants: Sequence[Variant], options: PairOptions) -> Leak | None:
    """Return what was generated without the trigger words, beside the runs; None if nothing was.

    Raises:
        DamagedError: `leak.json` cannot be read.
        AttnError: traces cannot be compared.
    """
    folder = base.path.parent / WITHOUT
    if not is_file(folder / LEAK):
        return None
    facts = read_json(
        folder / LEAK,
        _LeakFacts,
        expected="the list of what was generated without trigger words",
        error=DamagedError,
        hint="Remove it to compare without it, or generate again.",
    )
    beside = [of for of in variants if is_folder(folder / of.run.path.name)]
    if not beside or not is_folder(folder / base.path.name):
        return None
    runs = [
        open_run(folder / run.path.name, run.label) for run in (base, *(of.run for of in beside))
    ]
    plain = replace(options, words=None, phrases=(), seed=None)
    compared = compare_traces(runs, plain)
    by_label = {variant.label: variant for variant in compared}
    return Leak(facts.triggers, facts.prompts, by_label)


def tabulate_leak(leak: Leak, variants: Sequence[Variant]) -> Table:
    """Return `leak.csv`."""
    from attn.analysis.compare.controls.leak import leak_table

    sides = {
        variant.label: (variant.pairs, leak.variants[variant.label].pairs)
        for variant in variants
        if variant.label in leak.variants
    }
    return leak_table(sides, leak.prompts, leak.triggers)


@dataclass(frozen=True)
class _LeakFacts:
    """What `leak.json` holds."""

    triggers: tuple[str, ...]
    prompts: dict[str, str]
