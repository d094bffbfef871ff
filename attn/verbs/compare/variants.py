"""Go through the traces of several runs, pair by pair, with one trace in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from attn.errors import AnalysisError, AttnError, did_you_mean
from attn.verbs.compare.pairing import Member, Pairing, Run, open_member, pair_up
from attn.words import find_words, fold, word_keys

if TYPE_CHECKING:
    from attn.analysis.compare.pairs import Options, Pair, Readings
    from attn.analysis.compare.spool import Pairs
    from attn.analysis.compare.terms import Key
    from attn.engine.plan import Plan
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
        example: the one that is drawn, with its maps if it has some: the first with asked words,
            with maps, of a trace of the baseline that every variant has a partner of, and with the
            word that changed most, as far as there is one.
        members: the two traces of the example.
        same_noise: pairs that began with the same noise, as far as the manifests tell.
        notes: what was not, or only partly, comparable.
    """

    run: Run
    pairs: Pairs
    prompts: frozenset[str]
    example: Pair
    members: tuple[Member, Member]
    same_noise: int
    notes: tuple[str, ...]

    @property
    def label(self) -> str:
        """What the variant is called."""
        return self.run.label

    @property
    def lacks(self) -> tuple[str, ...]:
        """In which pairs maps were not compared, and why."""
        found = tuple(dict.fromkeys(pair.lack for pair in self.pairs if pair.lack))
        there = sum(not pair.lack for pair in self.pairs)
        if not found:
            return ()
        reasons = "; ".join(found[:SHOWN])
        if not there:
            return (f"maps are not compared: {reasons}",)
        return (f"maps are compared in {there} of {len(self.pairs)} pairs; in others {reasons}",)

    @property
    def count(self) -> int:
        """Number of pairs of pictures."""
        return sum(len(pair.base.mass) for pair in self.pairs)


@dataclass
class _Found:
    """What is collected of one variant: lists of what there is of each pair.

    `drawn` is the place of the best pair so far, and that pair with its maps.
    """

    pairs: Pairs
    members: list[tuple[Member, Member]] = field(default_factory=list)
    merits: list[tuple[bool, ...]] = field(default_factory=list)
    drawn: tuple[int, Pair] | None = None
    other_noise: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[AttnError] = field(default_factory=list)


def compare_traces(runs: Sequence[Run], options: Options) -> tuple[Variant, ...]:
    """Compare the traces of runs with those of the first run.

    Every trace is read once, whatever the number of variants. A pair that cannot be compared is
    noted and left out.

    Raises:
        AttnError: no pair of a variant can be compared.
        AnalysisError: an asked word or phrase is in no pair of prompts.
    """
    from attn.analysis.compare.spool import Pairs

    base, *others = runs
    pairings = [pair_up(base, other) for other in others]
    found = [_Found(Pairs(), notes=list(pairing.notes)) for pairing in pairings]
    for member in base.members:
        _compare_member(member, pairings, found, options)
    word = _most_changed([one.pairs for one in found], options)
    variants = tuple(
        _finish(run, pairing, one, word, options)
        for run, pairing, one in zip(others, pairings, found, strict=True)
    )
    _require_named(variants, options)
    return variants


def _compare_member(
    member: Member, pairings: Sequence[Pairing], found: Sequence[_Found], options: Options
) -> None:
    """Compare one trace of the baseline with its partner in every variant."""
    from attn.analysis.compare.pairs import compare_pair

    known: Readings = {}
    opened: list[Trace] = []
    made: list[tuple[_Found, Pair, Member]] = []
    for pairing, one in zip(pairings, found, strict=True):
        for partner in pairing.partners(member):
            try:
                opened = opened or [open_member(member)]
                pair = compare_pair(opened[0], open_member(partner), options, known)
            except AttnError as error:
                one.errors.append(error)
                one.notes.append(f"{member.folder} and {partner.folder} are left out: {error}")
            else:
                made.append((one, pair, partner))
    has_words = all(_has_words(pair, options.words) for _, pair, _ in made)
    has_maps = all(pair.alike is not None for _, pair, _ in made)
    merits = (has_words, has_maps, len(made) == len(found))
    for one, pair, partner in made:
        if one.drawn is None or merits > one.merits[one.drawn[0]]:
            one.drawn = len(one.pairs), pair
        _keep(one, pair, (member, partner), merits)


def _has_words(pair: Pair, words: Sequence[str] | None) -> bool:
    """Whether a pair has one of the asked words, or any where none is asked for."""
    wanted = None if words is None else {fold(word) for word in words}
    return any(
        term.kind == "word" and (wanted is None or fold(term.text) in wanted) for term in pair.terms
    )


def _most_changed(pairs: Sequence[Sequence[Pair]], options: Options) -> Key | None:
    """Return the word whose mass changed most in any of the variants, if there is one."""
    from attn.analysis.compare.change_tables import by_size, changes, mass, overall

    every = [one for own in pairs for one in changes(own, overall(mass), options.words)]
    return next((one.term.key for one in by_size(every) if one.term.kind == "word"), None)


def _keep(
    one: _Found, pair: Pair, members: tuple[Member, Member], merits: tuple[bool, ...]
) -> None:
    one.pairs.append(pair)
    one.members.append(members)
    one.merits.append(merits)
    one.notes += pair.agreement.notes
    if pair.agreement.noise:
        one.other_noise.append(", ".join(pair.agreement.noise))


def _finish(run: Run, pairing: Pairing, one: _Found, word: Key | None, options: Options) -> Variant:
    if not one.pairs:
        if len(pairing.pairs) == 1:
            raise one.errors[0]
        raise AnalysisError(f"no pair of {run.path} can be compared: {one.errors[0]}")
    same = len(one.pairs) - len(one.other_noise)
    notes = [*run.notes, *one.notes, *_noise_note(one)]
    example, members = _choose_example(one, word, options)
    return Variant(
        run,
        one.pairs,
        frozenset(base.prompt for base, _ in one.members),
        example,
        members,
        same,
        tuple(dict.fromkeys(notes)),
    )


def _choose_example(
    one: _Found, word: Key | None, options: Options
) -> tuple[Pair, tuple[Member, Member]]:
    """Return the pair to draw, with its maps; it is read again unless these are still there."""
    from attn.analysis.compare.pairs import compare_pair
    from attn.trace.trace import open_trace

    def merit(place: int) -> tuple[tuple[bool, ...], bool]:
        return one.merits[place], any(term.key == word for term in one.pairs[place].terms)

    best = max(range(len(one.pairs)), key=merit)
    members = one.members[best]
    if one.drawn and one.drawn[0] == best:
        return one.drawn[1], members
    base, variant = (open_trace(member.folder) for member in members)
    return compare_pair(base, variant, options, {}), members


def _noise_note(one: _Found) -> Iterator[str]:
    if one.other_noise:
        differing = dict.fromkeys(one.other_noise)
        more = len(differing) - SHOWN
        rest = f"; and {more} more" if more > 0 else ""
        yield (
            f"{len(one.other_noise)} of {len(one.pairs)} pairs may not have begun with the same "
            f"noise: {'; '.join(list(differing)[:SHOWN])}{rest}"
        )


def require_in_prompts(prompts: Sequence[str], options: Options, negative: str) -> None:
    """Refuse prompts without words, and words that no prompt has, before anything is generated.

    Args:
        prompts: what is generated.
        options: what to compare.
        negative: the negative prompt, which the branch `uncond` reads instead.

    Raises:
        AnalysisError: names the first.
    """
    from attn.trace.occurrences import locate
    from attn.trace.prompts import divide

    read = prompts if options.branch == "cond" else [negative]
    names = (*(options.words or ()), *options.phrases)
    words = [divide(find_words(text), names) for text in read]
    if not any(words) and options.branch != "cond":
        raise AnalysisError("the negative prompt has no words; give one with --negative")
    if not any(words):
        texts = ", ".join(f"'{prompt}'" for prompt in prompts)
        raise AnalysisError(f"there is no word to compare in {texts}")
    phrases = [locate(own, options.phrases) for own in words]
    _require_known(
        options,
        {
            "word": [word.text for own in words for word in own],
            "phrase": [phrase.text for own in phrases for phrase in own],
        },
    )


def require_in_plan(
    plan: Plan, options: Options, parts: Sequence[str] | None, *, has_drawing: bool
) -> None:
    """Refuse what cannot be compared of traces as they are planned, before anything is generated.

    Args:
        plan: of a trace.
        options: what to compare.
        parts: what was asked for; None is all that can be made.
        has_drawing: whether the model is given one.

    Raises:
        AnalysisError: says what is missing, and what to capture with.
    """
    from attn.analysis.words.select import select_steps, select_tower
    from attn.analysis.words.selection import BLOCK
    from attn.schema import Step

    if options.branch not in plan.branches:
        kept = ", ".join(plan.branches)
        raise AnalysisError(
            f"compare.branch: '{options.branch}' is not captured, only {kept}: add --branch both"
        )
    layers = [one.layer for one in plan.layers if BLOCK in {block.name for block in one.blocks}]
    if not layers:
        raise AnalysisError(f"the traces will have no {BLOCK}: add --blocks {BLOCK}")
    select_tower(layers, options.layers)
    select_steps([Step(index, None, None) for index in range(plan.steps)], options.steps)
    asked = set(parts or ())
    level = plan.kept.level
    if asked & {"maps", "sketch"} and (level == "mass" or BLOCK not in plan.kept.blocks):
        raise AnalysisError(
            f"the traces will have no maps of {BLOCK}: leave out --keep and --blocks"
        )
    if asked & {"maps", "sketch"} and level == "means" and options.steps:
        raise AnalysisError("the traces will have no maps of single steps: add --keep maps")
    if "sketch" in asked and not has_drawing:
        raise AnalysisError("the model is given no drawing to compare with: leave out sketch")


def _require_named(variants: Sequence[Variant], options: Options) -> None:
    """Refuse words and phrases that no pair of prompts shares."""
    terms = [term for variant in variants for pair in variant.pairs for term in pair.terms]
    kinds = ("word", "phrase")
    _require_known(
        options, {kind: [term.text for term in terms if term.kind == kind] for kind in kinds}
    )


def _require_known(options: Options, known: Mapping[str, Sequence[str]]) -> None:
    words = {fold(text): text for text in known["word"]}
    for kind, asked in (("word", options.words or ()), ("phrase", options.phrases)):
        there = {word_keys(text) for text in known[kind]}
        for name in asked:
            if word_keys(name) not in there:
                hint = did_you_mean(fold(name), words)
                listed = ", ".join(words.values())
                raise AnalysisError(
                    f"the prompts do not share a {kind} '{name}'.{hint} Their words: {listed}."
                )
