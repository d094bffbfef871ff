"""Generate what is pending, batch by batch, and keep the index true while doing so."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich import filesize

from attn.choices import ItemStatus
from attn.errors import AttnError, CaptureError, ModelError, TraceError
from attn.files.disk import as_utf8, is_folder, is_there, reported
from attn.files.names import SAFETENSORS
from attn.schema import Manifest, Step
from attn.trace.store import MANIFEST, is_shard_file, read_manifest
from attn.trace.writer import TraceWriter
from attn.verbs.ablate.treatments import make_treatment
from attn.verbs.capture.collection import (
    JOURNAL,
    Entry,
    begin_index,
    is_collection,
    note_outcomes,
    stamp_entry,
    write_index,
    write_outcomes,
)
from attn.verbs.capture.folders import free_bytes
from attn.verbs.capture.jobs import Job, JobItem, missing_bytes
from attn.verbs.capture.manifest import Ran, draft, finished
from attn.verbs.capture.outputs import is_output
from attn.verbs.capture.resume import make_room
from attn.verbs.report import ItemCounts, Report

if TYPE_CHECKING:
    import numpy as np

    from attn.backends import Session

Batch = tuple[JobItem, ...]
LONGEST = 300
"""Most letters of a library's message that an index holds."""


@dataclass
class Progress:
    """How far the whole job is; a batch that is tried again makes it longer."""

    report: Report
    total: int
    done: int = 0
    written: int = 0

    def step(self, items: Iterable[JobItem]) -> None:
        """Count one step, with the bytes that it adds to some traces."""
        self.done += 1
        self.written += sum(item.plan.bytes // max(item.plan.steps, 1) for item in items)
        self.report.progress(self.done, self.total, self.written)


def check_session(session: Session) -> None:
    """Refuse a model whose attention cannot be seen, before anything is written.

    Raises:
        AttnError: says what to do.
    """
    from attn.engine.refuse import refuse_unobservable

    session.check()
    for name, tower in session.towers().items():
        refuse_unobservable(tower, name)


Batches = Sequence[tuple[Batch, Batch]]
"""Batches, each with its members that are missing."""


def make_here(job: Job, batches: Batches, progress: Progress) -> Iterator[dict[int, str | None]]:
    """Generate batches one by one, with the job's own session; yield as `make_batch` does."""
    for batch, missing in batches:
        yield from make_batch(job, batch, missing, progress)


def run_job(
    job: Job,
    entries: Sequence[Entry],
    make: Callable[[Job, Batches, Progress], Iterator[dict[int, str | None]]] = make_here,
    at_once: int = 1,
) -> tuple[Entry, ...]:
    """Have every trace generated that is pending.

    Batches are cut as if nothing were finished, because a batch decides the last bits of its
    members: if one of them is missing, all are generated, and only the missing one is written.

    Args:
        job: what is generated.
        entries: what there is of it.
        make: generates, and yields what became of traces as `make_batch` does.
        at_once: number of batches that are made at the same time, for which there must be room.

    Returns:
        What became of every trace that was asked for.

    Raises:
        TraceError: nothing more can be written, or the disk would be full soon; finished traces
            and the index stay usable.
        AttnError: the one trace that was asked for failed.
    """
    outcomes = _Outcomes(job, list(entries))
    batches = [(batch, missing) for batch in _cut(job) if (missing := outcomes.missing(batch))]
    progress = Progress(job.report, sum(batch[0].plan.steps for batch, _ in batches))
    with outcomes:
        outcomes.write()
        make_room(job, entries)
        planned = missing_bytes(job, entries)
        largest = max((batch[0].plan.bytes * len(batch) for batch, _ in batches), default=0)
        outcomes.tell(progress, planned)
        for done in make(job, batches, progress):
            outcomes.note(done)
            free = outcomes.tell(progress, planned)
            if outcomes.is_left and free < at_once * largest:
                raise TraceError(
                    f"only {filesize.decimal(free)} are free at {job.out}, and the next traces "
                    f"have up to {filesize.decimal(at_once * largest)}: the run ends before the "
                    "disk is full."
                )
    return tuple(outcomes.entries)


class _Outcomes:
    """What became of every trace: in memory, in the journal, and at the end in the index."""

    def __init__(self, job: Job, entries: list[Entry]) -> None:
        self._job = job
        self.entries = entries
        self._counts = Counter(entries[item.index].status for item in job.items)

    def missing(self, batch: Batch) -> Batch:
        """Return the members of a batch that are to be written."""
        return tuple(item for item in batch if self.entries[item.index].status == "pending")

    def note(self, outcomes: Mapping[int, str | None]) -> None:
        """Take the errors of traces that were tried, by place; None is for those that are done."""
        for index, error in outcomes.items():
            self._counts[self.entries[index].status] -= 1
            self._counts["complete" if error is None else "failed"] += 1
            status: ItemStatus = "complete" if error is None else "failed"
            entry = replace(self.entries[index], status=status, error=error)
            self.entries[index] = stamp_entry(entry, self._job.out, len(self.entries))
        if self._job.is_collection:
            changed = [self.entries[index] for index in outcomes]
            note_outcomes(self._job.out, changed, self._job.journal or JOURNAL)

    @property
    def is_left(self) -> bool:
        """Whether a trace is still to be made."""
        return self._counts["pending"] > 0

    def tell(self, progress: Progress, planned: int) -> int:
        """Report how far the run is; return the bytes that are free on its disk."""
        free = free_bytes(self._job.out)
        done, failed, left = (self._counts[status] for status in ("complete", "failed", "pending"))
        self._job.report.items(ItemCounts(done, failed, left, progress.written, planned, free))
        return free

    def write(self) -> None:
        """Write the index; of one part of a run its journal, beside the index as it was begun."""
        job = self._job
        if not job.is_collection:
            return
        if job.journal is None:
            write_index(job.out, self.entries, job.run)
            return
        if not is_collection(job.out):
            begin_index(job.out, job.entries, job.run)
        own = [self.entries[index] for index in sorted(job.indices)]
        write_outcomes(job.out, own, job.journal)

    def __enter__(self) -> None:
        """Begin; whatever happens from here on, the index is written at the end."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if error is not None:
            self._look_again()
        try:
            self.write()
        except TraceError as exc:  # the journal still says most of it
            error = error or exc
        if isinstance(error, TraceError):
            raise TraceError(f"{str(error).rstrip('.')}. {self._rest()}") from error

    def _look_again(self) -> None:
        """After a failure, say of every trace what its folder says, as far as that can be seen."""
        for index, entry in enumerate(self.entries):
            folder = self._job.out / entry.folder
            if entry.status == "complete" and not is_there(folder / MANIFEST):
                self.entries[index] = replace(entry, status="pending")
            elif entry.status == "pending" and is_complete(folder):
                self.entries[index] = replace(entry, status="complete")

    def _rest(self) -> str:
        """Describe what is usable after a failure to write, and what to do."""
        if not self._job.is_collection:
            return "Mend that, then run the same command with --resume."
        whole = sum(entry.status == "complete" for entry in self.entries)
        return (
            f"{whole} of {len(self.entries)} traces in {self._job.out} are complete and stay "
            "usable; mend that, then run the same command with --resume to make the others."
        )


def is_complete(folder: Path) -> bool:
    """Whether a trace says that it is whole."""
    try:
        return read_manifest(folder).status == "complete"
    except TraceError:  # it was not begun
        return False


def _cut(job: Job) -> list[Batch]:
    """Cut the job into batches by the places of its traces, whatever the model refuses of them."""
    batches: dict[int, list[JobItem]] = {}
    for item in job.items:
        batches.setdefault(item.index // job.batch, []).append(item)
    return [tuple(batch) for batch in batches.values()]


def make_batch(
    job: Job, batch: Batch, missing: Batch, progress: Progress
) -> Iterator[dict[int, str | None]]:
    """Generate a batch; if it fails, its missing members one by one.

    Yields:
        for traces that were tried: their errors by place, None for those that are done.
    """
    error = _try(job, batch, missing, progress)
    if error is None or len(batch) == 1:
        yield {item.index: error for item in missing}
        return
    names = f"{batch[0].folder.name} to {batch[-1].folder.name}"
    job.report.warn(f"the batch {names} failed ({error}); its traces are made one by one")
    remark = f"made alone, because its batch of {len(batch)} failed: {error}"
    progress.total += sum(item.plan.steps for item in missing)
    for item in missing:
        yield {item.index: _try(job, (item,), (item,), progress, remark)}


def _try(job: Job, batch: Batch, missing: Batch, progress: Progress, *remarks: str) -> str | None:
    """Generate a batch and return what failed, in words; of a single trace it is raised.

    Whatever a prompt meets, memory that is not enough or an error in a library, has nothing to say
    of the others. Only where nothing more can be written, or the model is gone, do all end.
    """
    before = progress.done
    try:
        _generate(job, batch, missing, progress, remarks)
    except (ModelError, TraceError):
        raise
    except Exception as error:
        if _is_interrupt(error):
            raise KeyboardInterrupt from error
        progress.total -= batch[0].plan.steps - (progress.done - before)
        for item in missing:
            _remove_stepless(item.folder, job.is_collection)
        if not job.is_collection:
            if _is_out_of_memory(error):
                raise CaptureError(
                    f"the memory is not enough ({in_words(error)}); try a smaller --size or "
                    "fewer --images, --dtype bfloat16, or --offload model"
                ) from error
            raise
        return as_utf8(in_words(error))
    return None


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C led to an error: where it meets a context of torch, that fails to close."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # torch's


def in_words(error: Exception) -> str:
    """Return the message of an expected error; of others also what and where they are."""
    if isinstance(error, AttnError):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    message = (str(error).strip().splitlines() or [""])[0]
    where = f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}"
    said = f"{where}: {message[:LONGEST]}" if message else where
    return ". ".join([said, *getattr(error, "__notes__", ())])


def tell_warnings(
    job: Job, item: JobItem, manifest: Manifest, remarks: tuple[str, ...] = ()
) -> None:
    """Say what there is to know of a trace; what holds for all of them is said of no folder."""
    folder = item.folder.name if job.is_collection else ""
    for warning in manifest.warnings:
        is_shared = warning in (*job.opening, *remarks)
        job.report.warn(warning, "" if is_shared else folder)


def _generate(
    job: Job, batch: Batch, missing: Batch, progress: Progress, remarks: tuple[str, ...]
) -> None:
    """Generate a batch and write its missing members."""
    from attn.engine.run import record

    began = time.monotonic()
    with ExitStack() as stack:
        drafts = {item.index: draft(job, item, remarks) for item in missing}
        for item in missing:
            tell_warnings(job, item, drafts[item.index], remarks)
        writers = {
            item.index: stack.enter_context(TraceWriter(item.folder, drafts[item.index]))
            for item in missing
        }

        def write(member: int, step: Step | None, tensors: Mapping[str, np.ndarray]) -> None:
            writer = writers.get(batch[member].index)
            if writer is not None:
                writer.put(step, tensors)
            if step is not None and member == len(batch) - 1:
                progress.step(missing)

        requests = [item.request for item in batch]
        job.session.keeps_forming = batch[0].plan.forming
        treatment = make_treatment(job.session, requests)
        outputs, steps, kernels = record(
            job.session.towers(),
            [item.plan for item in batch],
            requests[0].images,
            lambda call: job.session.generate(requests, call),
            write,
            treatment,
        )
        for request, output, of_trace in zip(requests, outputs, steps, strict=True):
            expected = output.steps or request.steps
            if len(of_trace) != expected:
                raise CaptureError(
                    f"the sampler ran {len(of_trace)} steps; expected {expected}: announce each of "
                    "request.steps in generate(), or say in Output.steps how many ran"
                )
        for warning in dict.fromkeys(text for output in outputs for text in output.warnings):
            job.report.warn(warning)
        seconds = (time.monotonic() - began) / len(batch)
        for item, output, of_trace in zip(batch, outputs, steps, strict=True):
            if item.index in writers:
                writer, begun = writers[item.index], drafts[item.index]
                changed = {} if treatment is None else treatment.describe()
                ran = Ran(of_trace, kernels, seconds, changed)
                writer.finish(finished(job, begun, ran, output, item.folder))


def _remove_stepless(folder: Path, whole: bool) -> None:
    """Take a trace away again that failed before its first step; what is not ours stays."""
    with reported(folder, "tidy up"):
        if not is_folder(folder) or any(folder.glob(f"attention/*{SAFETENSORS}")):
            return
        parts = {"attention": is_shard_file, "outputs": is_output}
        for name, is_ours in parts.items():
            for path in filter(is_ours, (folder / name).glob("*")):
                path.unlink()
        (folder / MANIFEST).unlink(missing_ok=True)  # last: a killed run can be resumed
        for directory in (*map(folder.joinpath, parts), *([folder] if whole else [])):
            with suppress(OSError):  # it is not there, or not empty
                directory.rmdir()
