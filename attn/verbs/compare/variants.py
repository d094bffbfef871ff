"""Go through the traces of several runs, pair by pair, with one trace in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from attn.errors import AnalysisError, AttnError
from attn.files.spool import SpooledList
from attn.verbs.compare.pairing import ComparedRun, Member, Pairing, open_member, pair_up
from attn.verbs.compare.requirements import require_present
from attn.wording import list_some
from attn.words import fold

if TYPE_CHECKING:
    from attn.analysis.compare.differences import Difference
    from attn.analysis.compare.pairs import Pair, PairOptions, Readings, ReadSide
    from attn.analysis.compare.spool import Pairs
    from attn.analysis.compare.terms import Key
    from attn.trace.trace import Trace

SHOWN = 3
"""So many seeds are named, more are counted."""


@dataclass(frozen=True)
class Variant:
    """A run, compared with the baseline.

    Attributes:
        run: the run.
        pairs: what its pairs of traces say, without maps.
        prompts: of the baseline, those of the pairs.
        example: the one that is drawn, with its maps if it has some: of those with asked words,
            with maps, of a trace of the baseline that every variant has a partner of, and with the
            leading word, as far as there are any, the one of median change of this word.
        members: the two traces of the example.
        all_members: the two traces of every pair.
        same_noise: pairs that began with the same noise, as far as the manifests tell.
        notes: what was not, or only partly, comparable.
    """

    run: ComparedRun
    pairs: Pairs
    prompts: frozenset[str]
    example: Pair
    members: tuple[Member, Member]
    all_members: Sequence[tuple[Member, Member]]
    same_noise: int
    notes: tuple[str, ...]

    @cached_property
    def differences(self) -> tuple[Difference, ...]:
        """Settings in which it differs from the baseline in any pair."""
        listed = (entry for kind in self.pairs.kinds for entry in kind.agreement.differences)
        return tuple(dict.fromkeys(listed))

    @property
    def label(self) -> str:
        """What the variant is called."""
        return self.run.label

    @cached_property
    def lacks(self) -> tuple[str, ...]:
        """In which pairs maps were not compared, and why."""
        lacks = tuple(dict.fromkeys(kind.lack for kind in self.pairs.kinds if kind.lack))
        if not lacks:
            return ()
        there = sum(not pair.lack for pair in self.pairs)
        reasons = "; ".join(lacks[:SHOWN])
        if not there:
            return (f"maps are not compared: {reasons}",)
        return (f"maps are compared in {there} of {len(self.pairs)} pairs; in others {reasons}",)

    @cached_property
    def count(self) -> int:
        """Number of pairs of images."""
        return sum(len(pair.base.mass) for pair in self.pairs)


@dataclass
class _MemberPairs:
    """What is collected of one variant: lists of what there is of each pair."""

    pairs: Pairs
    members: SpooledList[tuple[Member, Member]]
    merits: list[tuple[bool, ...]] = field(default_factory=list)
    other_noise: list[str] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    errors: list[AttnError] = field(default_factory=list)


def compare_traces(
    runs: Sequence[ComparedRun], options: PairOptions, read_side: ReadSide | None = None
) -> tuple[Variant, ...]:
    """Compare the traces of runs with those of the first run.

    Every trace is read once, whatever the number of variants. A pair that cannot be compared is
    noted and left out.

    Args:
        runs: the baseline, then the variants.
        options: what to compare.
        read_side: reads a trace; None reads it here.

    Raises:
        AttnError: no pair of a variant can be compared.
        AnalysisError: an asked word or phrase is in no pair of prompts.
    """
    from attn.analysis.compare.spool import Pairs

    base, *others = runs
    pairings = [pair_up(base, other) for other in others]
    compared = [
        _MemberPairs(
            Pairs(), SpooledList(tuple[Member, Member]), notes=dict.fromkeys(pairing.notes)
        )
        for pairing in pairings
    ]
    for at, member in enumerate(base.members):
        partners = [pairing.partners(at) for pairing in pairings]
        _compare_member(member, partners, compared, options, read_side)
    for run, pairing, entry in zip(others, pairings, compared, strict=True):
        _require_pairs(run, pairing, entry)
    shown = _typical(compared, options)
    variants = tuple(
        _finish(run, entry, at, options, read_side)
        for run, entry, at in zip(others, compared, shown, strict=True)
    )
    _require_named(variants, options)
    return variants


def _compare_member(
    member: Member,
    partners: Sequence[Sequence[Member]],
    compared: Sequence[_MemberPairs],
    options: PairOptions,
    read_side: ReadSide | None,
) -> None:
    """Compare one trace of the baseline with its partner in every variant."""
    from attn.analysis.compare.pairs import compare_pair

    readings: Readings = {}
    opened: list[Trace] = []
    made: list[tuple[_MemberPairs, Pair, Member]] = []
    for others, entry in zip(partners, compared, strict=True):
        for partner in others:
            try:
                opened = opened or [open_member(member)]
                traces = opened[0], open_member(partner)
                pair = compare_pair(*traces, options, readings, read_side)
            except AttnError as error:
                entry.errors.append(error)
                note = f"{member.folder} and {partner.folder} are left out: {error}"
                entry.notes[note] = None
            else:
                made.append((entry, pair, partner))
    has_words = all(_has_words(pair, options.words) for _, pair, _ in made)
    has_maps = all(pair.alike is not None for _, pair, _ in made)
    merits = (has_words, has_maps, len(made) == len(compared))
    for entry, pair, partner in made:
        _keep(entry, pair, (member, partner), merits)


def _has_words(pair: Pair, words: Sequence[str] | None) -> bool:
    """Whether a pair has one of the asked words, or any where none is asked for."""
    wanted = None if words is None else {fold(word) for word in words}
    return any(
        term.kind == "word" and (wanted is None or fold(term.text) in wanted) for term in pair.terms
    )


def _typical(compared: Sequence[_MemberPairs], options: PairOptions) -> list[int]:
    """Return which pair of each variant is drawn: of the same trace of the baseline, if it can be.

    Raises:
        AnalysisError: no pair has the seed that is asked for.
    """
    from attn.analysis.compare.changes import changes, headline, mass, overall

    leads = [headline(changes(entry.pairs, overall(mass), options.words)) for entry in compared]
    sizes = [0.0 if lead is None else abs(float(lead.change.change)) for lead in leads]
    best = max(range(len(sizes)), key=lambda number: sizes[number])
    lead = leads[best]
    word = None if lead is None else lead.term.key
    first = _median_pair(compared[best], word, options)
    base = compared[best].members[first][0]
    same = [
        next((at for at, members in enumerate(entry.members) if members[0] == base), None)
        for entry in compared
    ]
    return [
        _median_pair(entry, word, options) if at is None else at
        for entry, at in zip(compared, same, strict=True)
    ]


def _median_pair(entry: _MemberPairs, word: Key | None, options: PairOptions) -> int:
    """Return the pair whose change of a word is the median, of those of most merit."""
    indices = [
        index for index, (base, _) in enumerate(entry.members) if options.seed in (None, base.seed)
    ]
    if not indices:
        seeds = ", ".join(str(base.seed) for base, _ in entry.members[:SHOWN])
        raise AnalysisError(f"compare.seed: no pair has the seed {options.seed}; there are {seeds}")
    ranks = []
    for index in indices:
        pair = entry.pairs[index]
        merit = entry.merits[index], any(term.key == word for term in pair.terms)
        ranks.append((merit, _change_of(pair, word), index))
    most = max(merit for merit, _, _ in ranks)
    ranked = sorted((change, index) for merit, change, index in ranks if merit == most)
    return ranked[(len(ranked) - 1) // 2][1]


def _change_of(pair: Pair, word: Key | None) -> float:
    """Return the change of a word's mass in one pair, mean over its images; 0 without the word."""
    from attn.analysis.compare.changes import mass
    from attn.analysis.numbers import mean_present

    at = next((at for at, term in enumerate(pair.terms) if term.key == word), None)
    before, after = (mean_present(side, -1) for side in mass(pair))
    return 0.0 if at is None else float((after[:, at] - before[:, at]).mean())


def _keep(
    entry: _MemberPairs, pair: Pair, members: tuple[Member, Member], merits: tuple[bool, ...]
) -> None:
    entry.pairs.append(pair)
    entry.members.append(members)
    entry.merits.append(merits)
    entry.notes |= dict.fromkeys(pair.agreement.notes)
    if pair.agreement.noise:
        entry.other_noise.append(", ".join(pair.agreement.noise))


def _require_pairs(run: ComparedRun, pairing: Pairing, entry: _MemberPairs) -> None:
    """Refuse a variant of which no pair could be compared."""
    if entry.pairs:
        return
    if len(pairing.pairs) == 1:
        raise entry.errors[0]
    raise AnalysisError(f"no pair of {run.path} can be compared: {entry.errors[0]}")


def _finish(
    run: ComparedRun,
    entry: _MemberPairs,
    shown: int,
    options: PairOptions,
    read_side: ReadSide | None,
) -> Variant:
    """Describe a variant; the pair that is drawn is read again, with its maps."""
    from attn.analysis.compare.pairs import compare_pair
    from attn.trace.trace import open_trace

    same = len(entry.pairs) - len(entry.other_noise)
    notes = [*run.notes, *entry.notes, *_noise_note(entry)]
    members = entry.members[shown]
    base, variant = (open_trace(member.folder) for member in members)
    return Variant(
        run,
        entry.pairs,
        frozenset(base.prompt for base, _ in entry.members),
        compare_pair(base, variant, options, {}, read_side),
        members,
        entry.members,
        same,
        tuple(dict.fromkeys(notes)),
    )


def _noise_note(entry: _MemberPairs) -> Iterator[str]:
    if entry.other_noise:
        differing = list_some(dict.fromkeys(entry.other_noise), SHOWN, "; ")
        yield (
            f"{len(entry.other_noise)} of {len(entry.pairs)} pairs may not have begun with the "
            f"same noise: {differing}"
        )


def _require_named(variants: Sequence[Variant], options: PairOptions) -> None:
    """Refuse words and phrases that no pair of prompts shares."""
    terms = dict.fromkeys(
        (term.kind, term.text)
        for variant in variants
        for kind in variant.pairs.kinds
        for term in kind.terms
    )
    kinds = ("word", "phrase")
    require_present(options, {kind: [text for of, text in terms if of == kind] for kind in kinds})
