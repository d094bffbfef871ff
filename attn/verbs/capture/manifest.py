"""The manifest of a trace: what is known before the first forward, and what is added at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from attn.backends import ModelInfo, Output
from attn.errors import ModelError
from attn.schema import UNCOND, UNKNOWN, Manifest, Request, Sequence, Step, Token, find_words
from attn.trace.growing import SPANNED, ended, sample_texts
from attn.verbs.capture.jobs import Job, JobItem, describe_model
from attn.verbs.capture.outputs import environment, peak_memory, save_outputs

SHOWN = 80
"""Longest piece of a cut prompt in a warning; `truncated` in the manifest holds all of it."""


@dataclass(frozen=True)
class Ran:
    """What a batch gives all its traces."""

    steps: tuple[Step, ...]
    kernels: Seq[Mapping[str, Any]]
    seconds: float
    changed: Mapping[str, Any] = field(default_factory=dict)


def draft(job: Job, item: JobItem, remarks: tuple[str, ...] = ()) -> Manifest:
    """Build the manifest of a trace before the first forward."""
    request, plan, session = item.request, item.plan, job.session
    sequences = {branch: session.sequence(request, branch) for branch in plan.branches}
    truncated = {
        branch: sequence.truncated for branch, sequence in sequences.items() if sequence.truncated
    }
    cut = (
        _cut_warning(branch, name, text)
        for branch in truncated
        for name, text in truncated[branch].items()
    )
    zeros = (
        f"the row {branch} reads zeros in place of a text, so it has no tokens"
        for branch, sequence in sequences.items()
        if not sequence.tokens
    )
    return Manifest(
        status="partial",
        backend=job.backend,
        model=describe_model(session.info),
        request=request,
        branches=plan.branches,
        samples=plan.samples,
        steps=(),
        layers=tuple(entry.layer for entry in plan.layers),
        segments={branch: sequence.segments for branch, sequence in sequences.items()},
        tokens={branch: sequence.tokens for branch, sequence in sequences.items()},
        words=find_words(request.prompt),
        truncated=truncated,
        kept=plan.kept,
        identity={},
        shards=(),
        environment=environment(),
        cost={},
        schema=SPANNED if plan.spans else 1,
        warnings=tuple(
            dict.fromkeys(
                [
                    *item.warnings,
                    *(warning for sequence in sequences.values() for warning in sequence.warnings),
                    *(*cut, *zeros, *typed_out(request, sequences), *remarks),
                ]
            )
        ),
    )


def finished(job: Job, begun: Manifest, ran: Ran, output: Output, folder: Path) -> Manifest:
    """Write the outputs of a trace, and say what is known at its end."""
    outputs = save_outputs(folder, output, begun)
    begun = ended(begun, ran.steps)
    return replace(
        begun,
        model={**begun.model, **identify(job.session.info)},
        steps=ran.steps,
        tokens=_written(begun, output),
        truncated=_truncated(begun, output),
        outputs=tuple(outputs),
        identity={
            "kernels": list(ran.kernels),
            "noise": list(output.noise),
            "outputs": outputs,
        }
        | ({} if output.steps is None else {"steps": output.steps})
        | ({"changed": dict(ran.changed)} if ran.changed else {}),
        cost={
            "seconds": round(ran.seconds, 3),
            "seconds_per_step": round(ran.seconds / len(ran.steps), 4),
            "peak_memory_bytes": peak_memory(),
        },
        warnings=(*begun.warnings, *output.warnings),
        texts=sample_texts(begun, output.tokens),
    )


def _written(begun: Manifest, output: Output) -> dict[str, tuple[Token, ...]]:
    """Return the tokens of all branches, as far as they are known in the end.

    Those that were generated are there if it is one text.
    """
    new = {token.position: token for token in output.tokens[0]} if len(output.tokens) == 1 else {}
    return {
        branch: tuple(
            _unknown(token)
            if (branch, token.segment) in output.unknown
            else new.get(token.position, token)
            for token in tokens
        )
        for branch, tokens in begun.tokens.items()
    }


def _unknown(token: Token) -> Token:
    """Return a placeholder for a token whose text is unknown."""
    return Token(token.position, token.segment, -1, UNKNOWN, True, False, 0, 0, None)


def _truncated(begun: Manifest, output: Output) -> dict[str, dict[str, str]]:
    """Return the text that was cut off, by branch and segment, where it is known."""
    kept = {
        branch: {name: cut for name, cut in cuts.items() if (branch, name) not in output.unknown}
        for branch, cuts in begun.truncated.items()
    }
    return {branch: cuts for branch, cuts in kept.items() if cuts}


def identify(info: ModelInfo) -> dict[str, str]:
    """Return the hash or revision of a model; waits until it is known.

    Raises:
        ModelError: the model's files cannot be read any more.
    """
    try:
        return info.identity()
    except OSError as exc:
        raise ModelError(
            f"cannot read the files of {info.source} again to identify the model: "
            f"{exc.strerror or exc}"
        ) from exc


def _cut_warning(branch: str, segment: str, text: str) -> str:
    which = "prompt" if branch == "cond" else "negative prompt"
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"
    return f"the {which} is longer than the model's '{segment}' text; not read: \"{shown}\""


def typed_out(request: Request, sequences: Mapping[str, Sequence]) -> Iterator[str]:
    """Name the special tokens that a prompt spells out: models do not read them as text."""
    for branch, sequence in sequences.items():
        is_negative, prompt = branch == UNCOND, request.prompt_of(branch)
        for segment, name in dict.fromkeys(
            (token.segment, token.text) for token in sequence.tokens if not token.is_content
        ):
            tokens = [token for token in sequence.tokens if token.segment == segment]
            kept = len(prompt.rstrip()) - len(sequence.truncated.get(segment, ""))
            if find_words(name) and _is_spelled(name, prompt[:kept], tokens):
                yield (
                    f"the {'negative ' if is_negative else ''}prompt has '{name}', which the "
                    f"model's '{segment}' text reads as that special token: it belongs to no word"
                )


def _is_spelled(name: str, prompt: str, tokens: Seq[Token]) -> bool:
    """Whether a prompt has a name that is not read as text, token by token."""
    at = prompt.find(name)
    content = [token for token in tokens if token.is_content]
    while at >= 0:
        if not any(token.start < at + len(name) and at < token.stop for token in content):
            return True
        at = prompt.find(name, at + 1)
    return False
