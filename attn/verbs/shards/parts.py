"""One part of a run, that a process makes beside others: `--shard I/N`.

All shards of a run write into one folder. Which traces are whose follows from their prompts and
seeds alone, so that no shard has to know of another; each has a journal of its own, and whoever
reads the collection reads them all. Copies of the folder can be put together: `attn merge`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec

from attn.errors import TraceError, UsageError
from attn.files.disk import reported
from attn.files.locks import file_lock
from attn.verbs.capture.collection import Entry, shard_journal, shard_journals
from attn.verbs.capture.jobs import JobPart
from attn.verbs.report import Report

SLURM = "slurm"
WRITTEN = re.compile(r"(\d{1,9})/(\d{1,9})", re.ASCII)


@dataclass(frozen=True)
class JobShard:
    """A part of a run.

    Attributes:
        number: from 1.
        count: of parts.
    """

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def journal(self) -> str:
        """Name of its journal."""
        return shard_journal(self.number, self.count)

    def part(self, batches: Iterable[Sequence[Entry]]) -> set[str]:
        """Return the folders of this part's traces.

        Batches are dealt out in the order of the SHA-256 of their prompts and seeds, so parts
        differ by one batch at most. A batch decides the last bits of its members, so it is never
        torn apart.
        """
        dealt = sorted(batches, key=_digest)[self.number - 1 :: self.count]
        return {entry.folder for batch in dealt for entry in batch}


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> JobShard:
    """Return the part of a run that `I/N` names, or `slurm`: the task of a job array.

    Raises:
        UsageError: it is none of the N, or no job array runs.
    """
    match = WRITTEN.fullmatch(text)
    if text == SLURM:
        match = WRITTEN.fullmatch(_slurm_task(environment))
    if match is None:
        raise UsageError(f"shard: expected I/N, such as 2/8, or {SLURM}; got '{text}'")
    shard = JobShard(int(match[1]), int(match[2]))
    if not 1 <= shard.number <= shard.count:
        raise UsageError(
            f"shard: {shard} is none of {shard.count} parts; they are 1/{shard.count} to "
            f"{shard.count}/{shard.count}"
            if shard.count
            else f"shard: {shard} has no parts; expected I/N with 1 ≤ I ≤ N"
        )
    return shard


def check_shard(text: str | None, out: object) -> None:
    """Refuse a shard that is none, or without a folder that all shards have in common.

    Raises:
        UsageError: says what to type.
    """
    if text is not None:
        parse_shard(text)
        if out is None:
            raise UsageError("shard: say which folder all shards write into, with --out DIR")


def _slurm_task(environment: Mapping[str, str]) -> str:
    """Return I/N of the task of a SLURM job array, wherever its numbers begin.

    Raises:
        UsageError: this is none.
    """
    try:
        task, first, last, count = (
            int(environment[f"SLURM_ARRAY_TASK_{name}"]) for name in ("ID", "MIN", "MAX", "COUNT")
        )
    except (KeyError, ValueError):
        raise UsageError(
            "shard slurm: this is no task of a job array (SLURM_ARRAY_TASK_ID, _MIN, _MAX and "
            "_COUNT say which); submit it with sbatch --array=1-N, or give --shard I/N"
        ) from None
    step = (last - first) // max(count - 1, 1) or 1
    return f"{(task - first) // step + 1}/{count}"


def job_part(shard: JobShard, entries: Sequence[Entry], batch: int, report: Report) -> JobPart:
    """Return which traces of a run, of which `batch` are generated at once, are a shard's."""
    own = shard.part(entries[start : start + batch] for start in range(0, len(entries), batch))
    report.note(f"shard {shard}: {len(own)} of {len(entries)} traces")
    indices = frozenset(index for index, entry in enumerate(entries) if entry.folder in own)
    return JobPart(indices, shard.journal)


@contextmanager
def shard_lock(folder: Path, shard: JobShard) -> Iterator[None]:
    """Hold a part of a run, where the file system has locks; its journal is there meanwhile.

    Raises:
        TraceError: another process makes this part, or one of a run that is parted otherwise.
    """
    journal = folder / shard.journal
    with ExitStack() as stack:
        with reported(journal):
            is_held = stack.enter_context(file_lock(journal))
        _refuse_others(folder, shard, is_held)
        stack.callback(_remove_empty, journal)
        yield


def _refuse_others(folder: Path, shard: JobShard, is_held: bool | None) -> None:
    if is_held is False:
        raise TraceError(
            f"another process makes shard {shard} of {folder}; wait for its end, or name another "
            "shard"
        )
    for other in shard_journals(folder):
        if not other.name.endswith(f"-of-{shard.count}.jsonl") and _is_in_use(other):
            raise TraceError(
                f"{other} is being written: another number of shards than {shard}; give all the "
                "same number, or wait for their end"
            )


def _remove_empty(journal: Path) -> None:
    with suppress(OSError):
        if not journal.stat().st_size:
            journal.unlink()


def _is_in_use(journal: Path) -> bool:
    with reported(journal, "read"), file_lock(journal) as is_free:
        return is_free is False


def _digest(batch: Sequence[Entry]) -> bytes:
    identity = [[entry.prompt, entry.seed, entry.folder] for entry in batch]
    return sha256(msgspec.json.encode(identity)).digest()
