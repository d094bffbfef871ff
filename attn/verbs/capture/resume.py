"""Go on where an earlier run stopped: keep what is whole and the same, and make the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import msgspec
from rich import filesize

from attn.errors import DamagedError, TraceError, UsageError
from attn.files.digests import LARGEST_OUTPUT
from attn.files.disk import AGAIN, copy_atomic, encode_json, is_folder, is_there
from attn.files.names import COLLECTION
from attn.files.results import withdraw
from attn.schema import Manifest, Request
from attn.trace.growing import ended
from attn.trace.store import MANIFEST, open_files, read_manifest, require_journal
from attn.trace.writer import demote
from attn.verbs.capture.collection import Entry, find_unchanged, stamp_entry
from attn.verbs.capture.folders import (
    ANALYSIS,
    ANALYSIS_INDEX,
    PARTS,
    refuse_outside,
    sweep,
)
from attn.verbs.capture.jobs import Job, JobItem, folder_names, missing_bytes
from attn.verbs.capture.manifest import draft, identify
from attn.verbs.capture.outputs import check_output, environment
from attn.verbs.capture.remains import PreviousRun, read_begun
from attn.verbs.capture.run_identity import (
    IDENTITIES,
    Facts,
    differences,
    item_facts,
    lora_facts,
    manifest_facts,
    run_facts,
    summary,
)

DECISIVE = ("torch", "diffusers", "transformers", "device")
"""What a picture's last bits depend on, beside the model."""

DAMAGED = "trace.json.damaged"
"""What a manifest that cannot be read is kept as."""

PLANNED = (
    *("branches", "samples", "layers", "segments", "tokens", "words"),
    *("truncated", "kept", "request"),
)
"""What a manifest says that follows from the request and the model alone."""


def refuse_other_list(
    previous: PreviousRun, backend: str, batch: int, wishes: Sequence[Request]
) -> None:
    """Refuse, before the model is loaded, other prompts, seeds, LoRAs, batches or family.

    Raises:
        UsageError: names the first differences.
    """
    was = run_facts(previous.run) if previous.run else {}
    loras = lora_facts(map(asdict, wishes[0].loras))
    now = {"backend": backend, "batch": batch, "traces": len(wishes), "lora": loras}
    changes = differences(was | {"traces": len(previous.entries)}, now)
    if len(previous.entries) == len(wishes):
        for entry, name, wish in zip(
            previous.entries, folder_names(len(wishes)), wishes, strict=True
        ):
            wanted = {"folder": name, "prompt": wish.prompt, "seed": wish.seed}
            there = {"folder": entry.folder, "prompt": entry.prompt, "seed": entry.seed}
            where = "" if name == "." else f"{name}: "
            changes += [f"{where}{difference}" for difference in differences(there, wanted)]
    _refuse(previous, changes)


def keep_finished(job: Job, previous: PreviousRun) -> tuple[Entry, ...]:
    """Compare and check everything that is there, and return the entries with what is left to do.

    Of a run of many traces those that are unchanged are not read, but for the first, which says
    what the run was made with. Nothing is changed. A trace that says `complete` but is damaged is
    pending, with a warning.

    Raises:
        UsageError: another run is asked for; names the first differences.
        TraceError: something could not be read.
    """
    comparison = _compare(job, previous, _unread(job, previous))
    if previous.damage:
        job.report.warn(
            f"the index will be written anew from the traces beside it: "
            f"{previous.damage} The batch of the earlier run, on which last bits depend, is not "
            f"known without it: {job.batch} is taken for it"
        )
    own = job.indices
    entries = [
        entry if index in own else was
        for index, (entry, was) in enumerate(zip(job.entries, previous.entries, strict=True))
    ]
    for item in (item for item in job.items if item.index in comparison.complete):
        entry = stamp_entry(entries[item.index], job.out, len(entries))
        damage = _damage(job, item)
        if damage:
            comparison.damaged.append(damage)
        else:
            entries[item.index] = replace(entry, status="complete")
    for index in comparison.unread:
        entries[index] = previous.entries[index]
    for damage in comparison.damaged:
        fact = damage.removesuffix(AGAIN).rstrip()
        job.report.warn(f"a trace is damaged and will be made again: {fact}")
    if comparison.changed:
        job.report.warn(
            f"finished traces were made with something else ({'; '.join(comparison.changed)}), "
            "so the others may differ from an unbroken run in their last bits"
        )
    _tell(job, previous, entries)
    return tuple(entries)


def make_room(job: Job, entries: Sequence[Entry]) -> None:
    """Prepare the folders of what is pending, none of which may go on saying that it is complete.

    Results of `attn analyze` go with the trace that they were made of. The index comes before
    this, so that it lists nothing that is being taken away.
    """
    pending = [item for item in job.items if entries[item.index].status == "pending"]
    for item in pending:
        for part in ("", *PARTS):
            refuse_outside(item.folder / part, job.out)
    if job.journal is None:  # else other processes write there
        sweep(job.out)
    for item in pending:
        if is_folder(item.folder):
            withdraw(item.folder / ANALYSIS, "analyze", ANALYSIS_INDEX)
            _take_back(job, item)


def _take_back(job: Job, item: JobItem) -> None:
    """Make a damaged trace partial; one without a readable manifest gets the one it began with.

    The damaged manifest is kept: it may be the only one that says what was there.
    """
    path = item.folder / MANIFEST
    if not is_there(path):
        return
    try:
        manifest = read_manifest(item.folder)
    except TraceError:
        copy_atomic(path, path.with_name(DAMAGED), LARGEST_OUTPUT)
        demote(item.folder, draft(job, item))
    else:
        if manifest.status == "complete":
            demote(item.folder, manifest)


@dataclass
class _Comparison:
    """What the manifests of a run say, which together are too large to keep.

    Attributes:
        now: facts of the run that is asked for.
        complete: places of the traces that say so.
        damaged: what is wrong with others.
        changed: what else is not as it was when a trace was made.
        identity: of the model that is asked for, from when a trace knows its own.
        unread: places of the traces that are complete, for all that is seen without reading them.
    """

    now: Facts
    unread: frozenset[int]
    complete: set[int] = field(default_factory=set)
    damaged: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    identity: dict[str, str] | None = None


def _unread(job: Job, previous: PreviousRun) -> frozenset[int]:
    """Return the places of traces that need not be read."""
    unchanged = find_unchanged(job.out, previous.entries)
    found = [item.index for item in job.items if previous.entries[item.index].folder in unchanged]
    if found[1:]:
        job.report.note(
            f"{len(found) - 1} finished traces are as they were when they were last read, as far "
            "as the times of their files tell; attn verify reads everything"
        )
    return frozenset(found[1:])


def _compare(job: Job, previous: PreviousRun, unread: frozenset[int]) -> _Comparison:
    """Refuse to go on with another run than the one that is there; return what there is."""
    comparison = _Comparison(run_facts(job.run), unread)
    was = run_facts(previous.run) if previous.run else {}
    source = was.pop("model", None)
    _refuse(previous, differences(was, comparison.now))
    for item in (item for item in job.items if item.index not in unread):
        try:
            manifest = read_begun(item.folder)
        except DamagedError as error:
            fact = str(error).removesuffix(AGAIN).rstrip()
            comparison.damaged.append(f"{fact} It is kept as {DAMAGED}")
            continue
        if manifest is not None:
            _compare_trace(job, previous, item, manifest, comparison)
    if (
        source is not None and not comparison.identity
    ):  # else compared, whatever the model is called
        _refuse(previous, differences({"model": source}, comparison.now))
    return comparison


def _compare_trace(
    job: Job, previous: PreviousRun, item: JobItem, manifest: Manifest, comparison: _Comparison
) -> None:
    """Compare one trace, and take down what the others need to know of it."""
    edited = _edited(job, previous, item, manifest)
    if edited:
        comparison.damaged += [edited] if manifest.status == "complete" else []
        return
    if comparison.identity is None and set(IDENTITIES) & set(manifest.model):
        comparison.identity = identify(job.session.info)
    other = differences(
        manifest_facts(manifest),
        item_facts(comparison.now, item, comparison.identity or {}, manifest.steps),
    )
    where = f"{item.folder.name}: " if job.is_collection else ""
    _refuse(previous, [f"{where}{difference}" for difference in other])
    if manifest.status == "complete":
        comparison.complete.add(item.index)
        comparison.changed = comparison.changed or _changes(manifest.environment)


def _edited(job: Job, previous: PreviousRun, item: JobItem, manifest: Manifest) -> str:
    """Describe how a trace differs from the index, which belongs to the requested run.

    So it is this trace that was changed, not another run.
    """
    if previous.run is None or not job.is_collection:
        return ""
    listed = run_facts(previous.run) | {"prompt": item.request.prompt, "seed": item.request.seed}
    listed.pop("model", None)  # it may have been moved
    wrong = differences(manifest_facts(manifest), listed)
    path = item.folder / MANIFEST
    return (
        f"{path} is of another request than {COLLECTION} lists: {summary(wrong)}" if wrong else ""
    )


def _refuse(previous: PreviousRun, changes: Sequence[str]) -> None:
    if changes:
        raise UsageError(
            f"{previous.folder} holds another run than this one (was → now): {summary(changes)}. "
            "Nothing was changed; ask for the same run, or choose another folder with --out"
        )


def _damage(job: Job, item: JobItem) -> str:
    """Describe the damage of a complete trace, if any; all of its files are read."""
    folder = item.folder
    try:
        files = open_files(folder)
        files.verify()
        for name in files.manifest.outputs:
            check_output(folder, name, files.manifest)
        require_journal(folder, files.manifest)
    except TraceError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
            raise  # not damaged, for all that is known, but out of reach
        return str(error)
    manifest = files.manifest
    if not any(name.startswith("outputs/") for name in manifest.outputs):
        return f"{folder / MANIFEST} lists no outputs"
    steps = tuple(shard.step for shard in manifest.shards if shard.step is not None)
    if steps not in ((), manifest.steps):
        return f"{folder / MANIFEST} lists other steps than its shards are of"
    planned = ended(draft(job, item), manifest.steps)
    begun = msgspec.json.decode(encode_json(planned), type=Manifest)
    later = _later(manifest)
    was, now = _planned(manifest, later), _planned(begun, later)
    wrong = [name for name in PLANNED if was[name] != now[name]]
    return f"{folder / MANIFEST} has other {', '.join(wrong)} than this run gives" if wrong else ""


def _later(manifest: Manifest) -> set[tuple[str, str]]:
    """Return the (branch, segment) whose tokens a run gave: it wrote them, or did not know them."""
    written = {
        (branch, segment.name)
        for branch, segments in manifest.segments.items()
        for segment in segments
        if segment.is_generated
    }
    return written | {
        (branch, token.segment)
        for branch, tokens in manifest.tokens.items()
        for token in tokens
        if token.is_unknown
    }


def _planned(manifest: Manifest, later: Collection[tuple[str, str]]) -> dict[str, Any]:
    """Return what follows from the request, without the tokens of the segments in `later`.

    A LoRA is its bytes, wherever the file lies.
    """
    request = manifest.request
    kept_tokens = {
        branch: [
            replace(token, piece=None)  # follows from the id, and older traces do not say it
            for token in tokens
            if (branch, token.segment) not in later
        ]
        for branch, tokens in manifest.tokens.items()
    }
    unplaced = tuple(replace(lora, path="") for lora in request.loras)
    truncated = {
        (branch, name): cut
        for branch, cuts in manifest.truncated.items()
        for name, cut in cuts.items()
        if (branch, name) not in later
    }
    planned = {name: getattr(manifest, name) for name in PLANNED}
    request = replace(request, loras=unplaced)
    return planned | {"request": request, "tokens": kept_tokens, "truncated": truncated}


def _changes(was: Mapping[str, str]) -> list[str]:
    """List the changes since a trace was made that can alter its last bits."""
    now = environment()
    return [
        f"{name} {was.get(name)} → {now.get(name)}"
        for name in DECISIVE
        if was.get(name) != now.get(name)
    ]


def _tell(job: Job, previous: PreviousRun, entries: Sequence[Entry]) -> None:
    """Say how far the run is, or the part of it that is made."""
    pairs = [(previous.entries[index], entries[index]) for index in job.indices]
    done = sum(now.status == "complete" for _, now in pairs)
    again = sum(was.status == "failed" and now.status == "pending" for was, now in pairs)
    if not pairs:
        job.report.note("nothing to do: there are more shards than batches, and this one has none")
        return
    if not any(now.status == "pending" for _, now in pairs):
        of = "" if job.journal is None else " of this shard"
        what = f"all {done} traces{of} in {job.out} are" if len(entries) > 1 else f"{job.out} is"
        job.report.note(f"nothing to do: {what} complete")
        return
    failed = f", {again} failed and will be tried again" if again else ""
    if job.journal is not None and not done + again:
        return  # this part begins
    job.report.note(
        f"resuming {job.out}: {done} of {len(pairs)} traces are complete{failed}; "
        f"{filesize.decimal(missing_bytes(job, entries))} to write"
    )
