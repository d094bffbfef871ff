"""Which traces of two runs belong together: those of one prompt and one seed."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attn.errors import AnalysisError
from attn.files.disk import is_file, is_folder, is_there, reported
from attn.files.results import COMPARISON
from attn.files.spool import SpooledList
from attn.trace.store import MANIFEST, read_manifest
from attn.verbs.capture.collection import is_collection, read_index, require_listed
from attn.wording import count_noun, list_some

if TYPE_CHECKING:
    from attn.trace.trace import Trace

FOLDER = "comparison"
"""Where the results of a comparison are, in its folder; once they were in that folder itself."""


_Seed = tuple[int, int]
"""The seed of a trace, and its place in its run."""


@dataclass(frozen=True)
class Member:
    """One trace of a run."""

    folder: Path
    prompt: str
    seed: int


@dataclass(frozen=True)
class ComparedRun:
    """A trace or a collection.

    Attributes:
        path: its folder.
        label: what it is called in tables and pictures.
        members: its traces that were not lost.
        notes: which were.
    """

    path: Path
    label: str
    members: Sequence[Member]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pairing:
    """Traces of two runs, pair by pair, and what the reader should know of that.

    Attributes:
        pairs: by prompt.
        notes: for the reader.
        order: of each trace of the baseline the number of its pair, -1 if it is in none.
    """

    pairs: Sequence[tuple[Member, Member]]
    notes: tuple[str, ...]
    order: array[int]

    def partners(self, at: int) -> list[Member]:
        """Return the partner of the baseline's trace `at`: one trace or none."""
        return [] if self.order[at] < 0 else [self.pairs[self.order[at]][1]]


def open_runs(paths: Sequence[Path]) -> tuple[ComparedRun, ...]:
    """Look at traces and collections.

    Raises:
        AnalysisError: a collection has no trace that could be read.
        TraceError: there is neither a trace nor a collection, or it is damaged.
    """
    with reported(paths[0], "find"):  # the working folder may be gone
        labels = label_paths(paths)
    return tuple(open_run(path, label) for path, label in zip(paths, labels, strict=True))


def label_paths(paths: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that tell them apart; equal paths are numbered."""
    parts = [path.absolute().parts[1:] or (str(path),) for path in paths]
    longest = max(map(len, parts))
    for length in range(1, longest + 1):
        labels = ["/".join(part[-length:]) for part in parts]
        if len(set(labels)) == len({*parts}):
            break
    seen: dict[str, int] = defaultdict(int)
    numbered = []
    for label in labels:
        seen[label] += 1
        numbered.append(f"{label} ({seen[label]})" if seen[label] > 1 else label)
    return numbered


def open_member(member: Member) -> Trace:
    """Open a trace of a run.

    Raises:
        TraceError: it cannot be read.
        DamagedError: it is damaged, or of another request than the collection's index lists.
    """
    from attn.trace.trace import open_trace

    trace = open_trace(member.folder)
    require_listed(member.folder, trace.manifest, member.prompt, member.seed)
    return trace


def pair_up(base: ComparedRun, variant: ComparedRun) -> Pairing:
    """Pair the traces of two runs by prompt and seed.

    If each run has one prompt, these may differ. Without a common seed the traces of a prompt are
    paired in the order of their seeds: then they did not begin with the same noise.

    Raises:
        AnalysisError: nothing belongs together.
    """
    first, second = _by_prompt(base), _by_prompt(variant)
    prompts = [(prompt, prompt) for prompt in first if prompt in second]
    notes = []
    if not prompts and len(first) == len(second) == 1:
        prompts = [(next(iter(first)), next(iter(second)))]
        notes.append(
            f"the prompts differ ('{prompts[0][0]}' and '{prompts[0][1]}'): the words that they "
            "share are compared"
        )
    if not prompts:
        raise AnalysisError(
            f"{base.path} and {variant.path} have no prompt in common: {_listed(first)}; and "
            f"{_listed(second)}. Only runs of one prompt each may have different ones"
        )
    pairs: list[tuple[int, int]] = []
    for base_prompt, other in prompts:
        matched, by_seed = _of_prompt(first[base_prompt], second[other])
        pairs += matched
        if not by_seed:
            notes.append(
                f"'{base_prompt}' was drawn with other seeds ({_seeds(first[base_prompt])} and "
                f"{_seeds(second[other])}): paired in their order, not from the same noise, so "
                "that intervals hold the spread of both"
            )
    left = len(base.members) + len(variant.members) - 2 * len(pairs)
    if left:
        has = f"{count_noun(left, 'trace')} {'has' if left == 1 else 'have'}"
        notes.append(f"{has} no partner of the same prompt and seed: left out")
    order = array("q", [-1]) * len(base.members)
    for number, (at, _) in enumerate(pairs):
        order[at] = number
    members = ((base.members[at], variant.members[other]) for at, other in pairs)
    return Pairing(SpooledList(tuple[Member, Member], members), tuple(notes), order)


def open_run(path: Path, label: str) -> ComparedRun:
    """Look at a trace or a collection; see `open_runs`."""
    if not is_collection(path):
        is_compared = any(is_file(folder / COMPARISON) for folder in (path, path / FOLDER))
        if is_compared and not is_there(path / MANIFEST):
            base = (path.parent if path.name == FOLDER else path) / "base"
            raise AnalysisError(
                f"{path} holds a comparison; name the runs in it, such as {base}, or those that "
                f"its {COMPARISON} lists"
            )
        request = read_manifest(path).request
        return ComparedRun(path, label, (Member(path, request.prompt, request.seed),))
    entries = read_index(path)
    usable = [
        entry for entry in entries if entry.status != "failed" and is_folder(path / entry.folder)
    ]
    members = SpooledList(
        Member, (Member(path / entry.folder, entry.prompt, entry.seed) for entry in usable)
    )
    if not members:
        reason = next((f": {entry.error}" for entry in entries if entry.error), "")
        raise AnalysisError(f"{path} has no trace that could be compared{reason}")
    lost = len(entries) - len(members)
    notes = (f"{lost} of {len(entries)} traces of {path} were not made: left out",) if lost else ()
    return ComparedRun(path, label, members, notes)


def _by_prompt(run: ComparedRun) -> dict[str, list[_Seed]]:
    by_prompt: dict[str, list[_Seed]] = {}
    for at, member in enumerate(run.members):
        by_prompt.setdefault(member.prompt, []).append((member.seed, at))
    return by_prompt


def _of_prompt(
    first: Sequence[_Seed], second: Sequence[_Seed]
) -> tuple[list[tuple[int, int]], bool]:
    """Return pairs of one seed; if there is none, of all seeds in order, and False."""
    by_key = dict(_numbered(second))
    same = [(at, by_key[key]) for key, at in _numbered(first) if key in by_key]
    if same:
        return same, True
    ordered = ([at for _, at in sorted(seeds)] for seeds in (first, second))
    return list(zip(*ordered, strict=False)), False


def _numbered(seeds: Sequence[_Seed]) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield places with their seed, and how often it came before."""
    seen: dict[int, int] = defaultdict(int)
    for seed, at in seeds:
        yield (seed, seen[seed]), at
        seen[seed] += 1


def _listed(prompts: Iterable[str]) -> str:
    return list_some((f"'{prompt}'" for prompt in prompts), 3)


def _seeds(seeds: Sequence[_Seed]) -> str:
    numbers = sorted({seed for seed, _ in seeds})
    return f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
