"""How a text came about, step by step: for the recorder, and for people to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from attn.backends.families.mmada.chat import MaskedVocabulary
from attn.backends.families.mmada.unmask import Record, Writing
from attn.schema import Call, Token

MASKED = "░"


def announce(
    writing: Writing,
    step: int,
    branches: Sequence[str],
    tell: Callable[..., dict[str, np.ndarray]],
) -> Call:
    """Return the announcement of one forward.

    Args:
        writing: what is written.
        step: of the run.
        branches: guidance rows, in the order in which they run.
        tell: as `outcome`: of writing, step and `guided`.
    """
    samples = range(len(writing.padding))
    return Call(
        tower="denoiser",
        step=step,
        timestep=None,
        noise=writing.masked_share,
        rows=tuple((branch, sample) for branch in branches for sample in samples),
        padding=writing.padding * len(branches) if any(writing.padding) else (),
        outcome=partial(tell, writing, step, guided=len(branches) > 1),
    )


def outcome(writing: Writing, step: int, *, guided: bool) -> dict[str, np.ndarray]:
    """Return the measures of a step for the recorder: `STEP_MEASURES`, (row, position).

    The rows are the samples, and with guidance once more the samples with their prompts masked.
    """
    record = writing.records[step]
    parts = [measures(record)]
    if guided:
        prompt = np.arange(record.tokens.shape[1]) < writing.start
        unread = {
            "tokens": np.where(prompt, np.int32(writing.recipe.mask), record.tokens),
            "masked": np.where(prompt, np.uint8(1), parts[0]["masked"]),
        }
        parts.append(parts[0] | unread)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def written_tokens(
    writing: Writing, sample: int, vocabulary: MaskedVocabulary
) -> tuple[Token, ...]:
    """Return the tokens that were written, at their positions in the sample's own sequence."""
    numbers = writing.ids[sample, writing.start :].tolist()
    return vocabulary.written(numbers, writing.start - writing.padding[sample])


def texts_so_far(writing: Writing, vocabulary: MaskedVocabulary) -> Iterator[str]:
    """Yield what is written of each sample, with a mark for each token that is still masked."""
    for numbers in writing.ids[:, writing.start :].tolist():
        runs = groupby(numbers, lambda number: number == writing.recipe.mask)
        yield "".join(
            MASKED * len(list(run)) if is_masked else vocabulary.tokenizer.decode(list(run))
            for is_masked, run in runs
        )


def describe(writing: Writing, sample: int, vocabulary: MaskedVocabulary) -> dict[str, Any]:
    """Return the history of one sample, as `outputs/history.json` holds it."""
    begin = writing.start - writing.padding[sample]
    steps = [_step(writing, index, sample) for index in range(len(writing.records))]
    numbers = sorted({number for step in steps for number in step["tokens"]})
    return {
        "prompt_length": begin,
        "gen_length": writing.recipe.length,
        "block_length": writing.recipe.block,
        "mask": writing.recipe.mask,
        "texts": {str(number): vocabulary.text(number) for number in numbers},
        "steps": steps,
    }


def _step(writing: Writing, index: int, sample: int) -> dict[str, Any]:
    record, recipe = writing.records[index], writing.recipe
    padding = writing.padding[sample]
    columns = np.flatnonzero(record.finalised[sample])
    start = writing.start - padding + record.block * recipe.block
    return {
        "step": index,
        "block": record.block,
        "start": start,
        "stop": start + recipe.block,
        "finalised": (columns - padding).tolist(),
        "confidence": record.confidence[sample, columns].tolist(),
        "tokens": record.tokens[sample, writing.start : writing.start + recipe.length].tolist(),
    }


def measures(record: Record) -> dict[str, np.ndarray]:
    """Return the measures of a step, named as `schema.STEP_MEASURES`, (sample, position)."""
    return {
        "tokens": record.tokens,
        "masked": record.masked.astype(np.uint8),
        "finalised": record.finalised.astype(np.uint8),
        "confidence": record.confidence,
    }
