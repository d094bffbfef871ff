"""The texts of several runs, pair by pair: what a cut changed of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

from attn.errors import AnalysisError, AttnError
from attn.schema import Manifest
from attn.verbs.compare.controls.cut_effects import added_cuts
from attn.verbs.compare.pairing import ComparedRun, Member, open_member, pair_up

if TYPE_CHECKING:
    from attn.analysis.compare.controls.controls import Image, Values
    from attn.analysis.compare.written import WrittenDecisions


@dataclass(frozen=True)
class TextVariant:
    """The texts of a run, held against those of the baseline.

    Attributes:
        run: the run.
        members: the two traces of a pair.
        effects: measures of each text of the baseline, by name.
        decisions: rows of `decisions.csv`.
        notes: what was not comparable.
        count: pairs of texts.
    """

    run: ComparedRun
    members: tuple[Member, Member]
    effects: Mapping[str, Values]
    decisions: Sequence[Mapping[str, Any]]
    notes: tuple[str, ...]
    count: int


@dataclass
class TextSums:
    """What is collected of one variant."""

    effects: dict[str, dict[Image, list[float]]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    members: list[tuple[Member, Member]] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    count: int = 0


def writes_texts(manifest: Manifest) -> bool:
    """Whether a model writes a text, and draws no picture."""
    segments = [segment for of in manifest.segments.values() for segment in of]
    draws = any(query.kind == "image" for layer in manifest.layers for query in layer.queries)
    return not draws and any(segment.is_generated for segment in segments)


def are_cut_texts(runs: Sequence[ComparedRun]) -> bool:
    """Whether runs are texts, of which some were written with a cut."""
    from attn.trace.store import read_manifest

    base = runs[0].members[0]
    if not writes_texts(read_manifest(base.folder)):
        return False
    return any(added_cuts((base, run.members[0])) for run in runs[1:])


def compare_texts(runs: Sequence[ComparedRun]) -> tuple[list[TextVariant], int]:
    """Hold the texts of runs against those of the first.

    Texts of a prompt that the seed does not change are one: what a cut does to them is averaged.

    Returns:
        The variants, and how many different texts the baseline has.

    Raises:
        AnalysisError: no pair of a variant can be compared.
    """
    base, *others = runs
    pairings = [pair_up(base, other) for other in others]
    collected = [TextSums(notes=dict.fromkeys(pairing.notes)) for pairing in pairings]
    firsts: dict[Any, Image] = {}
    for at, member in enumerate(base.members):
        partners = [pairing.partners(at) for pairing in pairings]
        pairs = [
            (sums, of) for sums, listed in zip(collected, partners, strict=True) for of in listed
        ]
        _compare_member(member, pairs, firsts)
    variants = [_finish(run, sums) for run, sums in zip(others, collected, strict=True)]
    return variants, len(set(firsts.values()))


def _compare_member(
    member: Member, pairs: Sequence[tuple[TextSums, Member]], firsts: dict[Any, Image]
) -> None:
    """Compare the texts of a trace of the baseline with those of every variant."""
    from attn.analysis.compare.written import read_decisions

    try:
        before = read_decisions(open_member(member))
    except AttnError as error:
        for sums, _ in pairs:
            sums.notes[f"{member.folder} is left out: {error}"] = None
        return
    images = [
        firsts.setdefault((member.prompt, of.key), (member.prompt, member.seed, sample))
        for sample, of in enumerate(before)
    ]
    for sums, partner in pairs:
        try:
            after = read_decisions(open_member(partner))
        except AttnError as error:
            sums.notes[f"{partner.folder} is left out: {error}"] = None
            continue
        sums.members.append((member, partner))
        for sample, (image, *texts) in enumerate(zip(images, before, after, strict=False)):
            _add(sums, image, (texts[0], texts[1]))
            sums.rows += _rows(member, sample, (texts[0], texts[1]))


def _add(sums: TextSums, image: Image, texts: tuple[WrittenDecisions, WrittenDecisions]) -> None:
    from attn.analysis.compare.written import text_changes

    sums.count += 1
    for name, value in text_changes(*texts).items():
        sums.effects.setdefault(name, defaultdict(list))[image].append(value)


def _rows(
    member: Member, sample: int, texts: tuple[WrittenDecisions, WrittenDecisions]
) -> Iterator[dict[str, Any]]:
    from attn.analysis.compare.written import decision_rows

    where = {"prompt": member.prompt, "seed": member.seed, "sample": sample}
    yield from (where | row for row in decision_rows(*texts))


def _finish(run: ComparedRun, sums: TextSums) -> TextVariant:
    if not sums.members:
        reasons = "; ".join(sums.notes) or "there is no pair"
        raise AnalysisError(f"no text of {run.path} can be compared: {reasons}")
    effects = {
        name: {image: fmean(values) for image, values in of.items()}
        for name, of in sums.effects.items()
    }
    notes = (*run.notes, *sums.notes)
    return TextVariant(run, sums.members[0], effects, sums.rows, notes, sums.count)
