"""What the page says of a run and of a plan, as plain text, in which options are its fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from rich import filesize

from attn.errors import TraceError
from attn.explorer.opened import manifest_of
from attn.studio.form import EMPTY_LABEL, NAMED, label_of
from attn.studio.jobs import StudioRun
from attn.verbs.capture.options import CaptureOptions
from attn.verbs.options import declared
from attn.wording import count_noun

MENTION = re.compile(
    r"(?P<command>\b(?:attn|hf|pip|ray|sbatch) [a-z]+\b[^;,()`]*)"
    r"|--(?P<flag>[a-z][a-z0-9-]*)(?: (?P<word>\w(?:[^\s;,()]*[^\s;,().:])?))?"
)
"""A command, which stays as it is, or an option with the word after it."""
CANNOT_RUN = "This cannot run"
OF_SERVER = ("out", "model-dir", "lora-dir")
"""Options of `attn studio` that a run's messages may name."""


def tell_failure(what: str, error: object) -> str:
    """Return what was not done, and why."""
    return f"{what}: {with_fields(str(error))}"


def tell_refusal(error: object) -> str:
    """Return why what the form holds cannot run."""
    return tell_failure(CANNOT_RUN, error)


def with_fields(text: str) -> str:
    """Return a message in which fields of the form stand for options of the command line.

    `try a smaller --size, or --dtype bfloat16` becomes `try a smaller 'Size', or 'Dtype':
    bfloat16`. Of an option that has no field, it is said whose it is.
    """
    absent: dict[str, str] = {}

    def replace(mention: re.Match[str]) -> str:
        if mention["command"]:
            return mention[0]
        name, word = mention["flag"].replace("-", "_"), mention["word"] or ""
        if name == "set" and word:
            key, _, value = word.partition("=")
            return _field(key, value)
        if name not in NAMED:
            absent[mention["flag"]] = "studio" if mention["flag"] in OF_SERVER else "capture"
            return mention[0]
        return _field(name, word) if _is_value(name, word) else f"{_field(name)} {word}".rstrip()

    told = MENTION.sub(replace, text)
    notes = [f"(--{flag} is an option of attn {verb}.)" for flag, verb in absent.items()]
    return " ".join([told, *notes])


def tell_empty(values: Mapping[str, Any]) -> str:
    """Return what stands for fields that were emptied, or nothing."""
    told = ", ".join(f"'{label}' is {value}" for label, value in values.items())
    return f"Left empty: {told}." if told else ""


def tell_job(job: StudioRun, before: int = 0, alone: StudioRun | None = None) -> str:
    """Return how far a run is.

    Args:
        job: the run.
        before: runs that come first.
        alone: the run that goes on without a page, if one does.
    """
    ending = "It ends after this step." if job.is_ending and not job.is_over else ""
    lines = [_state(job, before), ending]
    if alone is not None and job.status == "waiting":
        page = f"the page '{alone.request['backend']}'"
        lines.append(f"The first one's page was closed: {page}, opened anew, shows and cancels it.")
    lines += map(with_fields, job.remarks)
    return "\n".join(line for line in lines if line)


def tell_plan(plan: Mapping[str, Any], pace: float | None) -> str:
    """Return what a run would keep and how long it would take.

    Args:
        plan: see `attn.studio.worker.models.plan`.
        pace: seconds a step of such a run; None is unknown.
    """
    steps = plan["steps"]
    time = (
        "how long it takes is known after the first run like it"
        if pace is None
        else f"about {_seconds(pace * steps)}, at {pace:.2g} s a step as in the last run like it"
    )
    kept = f"{count_noun(steps, 'step')}, {plan['level']} of {count_noun(plan['layers'], 'layer')}"
    return "\n".join(
        [f"{kept}: {filesize.decimal(plan['bytes'])}; {time}", *map(with_fields, plan["warnings"])]
    )


def _state(job: StudioRun, before: int) -> str:
    texts: Mapping[str, Callable[[], str]] = {
        "waiting": lambda: f"Waiting: {count_noun(before, 'run')} first.",
        "beginning": lambda: "Beginning …",
        "loading": lambda: "Loading the model …",
        "running": lambda: _running(job),
        "analyzing": lambda: f"All {count_noun(job.total, 'step')} are there. Analysing …",
        "complete": lambda: _complete(job),
        "cancelled": lambda: _cancelled(job),
        "failed": lambda: _failed(job),
    }
    return texts[job.status]()


def _complete(job: StudioRun) -> str:
    return f"Done: {count_noun(job.total, 'step')}, {filesize.decimal(job.written)} in {job.folder}"


def _cancelled(job: StudioRun) -> str:
    if not job.done:
        return "Cancelled before the first step."
    at = f"step {job.done} of {job.total}"
    return f"Cancelled after {at}. The finished steps are a partial trace: {job.folder}"


def _failed(job: StudioRun) -> str:
    if not job.done:
        return f"Failed: {with_fields(job.error)}"
    at = f"step {job.done} of {job.total}"
    return f"Failed after {at}: {with_fields(job.error)} What was finished is in {job.folder}"


def _running(job: StudioRun) -> str:
    parts = [f"Step {job.done} of {job.total}"]
    noise = _noise(job)
    if noise is not None:
        parts.append(f"noise left {100 * noise:.0f} %")
    if job.pace is not None:
        left = job.pace * (job.total - job.done)
        then = ", then the analysis" if job.is_analyzed else ""
        parts += [f"{job.pace:.2g} s/step", f"{_seconds(left)} left{then}"]
    return " · ".join([*parts, filesize.decimal(job.written)])


def _noise(job: StudioRun) -> float | None:
    """Return the noise of the last step that is written."""
    try:
        shards = manifest_of(job.folder).shards if job.folder else ()
    except TraceError:  # it is just being begun
        return None
    steps = [shard.step for shard in shards if shard.step is not None]
    return steps[-1].noise if steps else None


def _seconds(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _field(name: str, value: str = "") -> str:
    """Return a field with what is to be put in; a word in capitals stands for anything."""
    if name == "backend":
        return f"the page '{value}'"
    label = EMPTY_LABEL if (name, value) == ("sketch", "none") else label_of(name)
    return f"'{label}'" if not value or value.isupper() else f"'{label}': {value}"


def _is_value(name: str, word: str) -> bool:
    """Whether the word after an option is its value, and not the next one of the sentence."""
    option = next(option for option in declared(CaptureOptions) if option.name == name)
    is_text = name in ("backend", "lora") or word in (*option.choices, "none")
    return is_text or word.isupper() or re.search(r"\d|\w\.\w", word) is not None
