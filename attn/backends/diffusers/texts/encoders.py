"""Compare what text encoders are really given with the tokens of the trace, while they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import compress
from typing import Any

from torch import Tensor, nn

from attn.backends.diffusers.sharing import here
from attn.errors import CaptureError
from attn.schema import Token

Ids = tuple[int, ...]
CHANGED = (
    "the pipeline changes the prompt in a way that cannot be followed (weights, long prompts, "
    "tokens or code of its own), so it is unclear which words the tokens belong to; hand over a "
    "pipeline that reads prompts as diffusers' own do"
)


@dataclass(frozen=True)
class Encoder:
    """A text encoder, and what the trace says that it reads.

    Attributes:
        name: of the component, for messages: `text_encoder_2`.
        module: what runs; its first argument, or `input_ids`, are token ids (prompt, position).
        segment: the text segment that it fills.
        tokenizer: whose ids it reads.
        ids: for each branch whose text it reads, in the order in which they are encoded, the token
            ids of every prompt of the batch.
        is_padded: whether `ids` have the padding that the encoder is given.
    """

    name: str
    module: nn.Module
    segment: str
    tokenizer: Any
    ids: Mapping[str, Sequence[Ids]]
    is_padded: bool = True


@contextmanager
def labels_checked(
    encoders: Sequence[Encoder], denoiser: nn.Module
) -> Iterator[set[tuple[str, str]]]:
    """Watch text encoders; what they are given is compared before every forward of the denoiser.

    Nothing is changed, and nothing stays on the modules.

    Args:
        encoders: those that fill a text segment of the trace.
        denoiser: runs after them.

    Yields:
        a set to which every (branch, segment) is added that an encoder did not read: the pipeline
        has embeddings from elsewhere, and nobody knows of which tokens. See `Output.unknown`.

    Raises:
        CaptureError: an encoder reads other tokens; raised from within the denoiser's forward.
    """
    read: dict[str, dict[Ids, None]] = {encoder.name: {} for encoder in encoders}
    unknown: set[tuple[str, str]] = set()

    def compare(*_: object) -> None:
        for encoder in encoders:
            absent = _absent(encoder, tuple(read[encoder.name]))
            unknown.update((branch, encoder.segment) for branch in absent)

    handles = [
        encoder.module.register_forward_pre_hook(
            here(partial(_note, read[encoder.name], encoder.is_padded)), with_kwargs=True
        )
        for encoder in encoders
    ]
    handles.append(denoiser.register_forward_pre_hook(here(compare)))
    try:
        yield unknown
        compare()  # also what was encoded after the denoiser's last forward but one
    finally:
        for handle in handles:
            handle.remove()


def unknown_tokens(branch: str, segment: str) -> str:
    """Return the warning of a text segment whose tokens are unknown."""
    prompt = "negative prompt" if branch == "uncond" else "prompt"
    return (
        f"the {prompt} did not run through all text encoders of '{segment}': the pipeline has "
        "embeddings from elsewhere, so its tokens are unknown, and no words can be told there"
    )


@contextmanager
def prompts_checked(
    model: nn.Module, rows: Sequence[Sequence[Token]], padding: Sequence[int]
) -> Iterator[None]:
    """Compare the first input of a language model with the tokens of the trace.

    Args:
        model: takes `input_ids`, (row, position).
        rows: the tokens of every row.
        padding: positions at the beginning of every row that are none of its sequence.

    Raises:
        CaptureError: it reads other tokens; raised from within its forward.
    """

    def compare(module: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        handle.remove()
        read = [ids[skipped:] for ids, skipped in zip(_ids(args, keywords), padding, strict=True)]
        same = [
            tuple(ids[token.position] for token in tokens)
            for ids, tokens in zip(read, rows, strict=True)
        ]
        labelled = [tuple(token.id for token in tokens) for tokens in rows]
        names = {token.id: token.text for tokens in rows for token in tokens}
        if same != labelled:
            raise CaptureError(
                f"the language model reads {_difference(same, labelled, names.__getitem__)}"
            )

    handle = model.register_forward_pre_hook(compare, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _note(
    read: dict[Ids, None],
    is_padded: bool,
    module: nn.Module,
    args: tuple[Any, ...],
    keywords: dict[str, Any],
) -> None:
    rows = _ids(args, keywords)
    mask = keywords.get("attention_mask")
    if not is_padded and isinstance(mask, Tensor):
        kept = mask.reshape(-1, mask.shape[-1]).bool().tolist()
        rows = [tuple(compress(row, shown)) for row, shown in zip(rows, kept, strict=True)]
    read.update(dict.fromkeys(rows))


def _ids(args: tuple[Any, ...], keywords: Mapping[str, Any]) -> list[Ids]:
    """Return the rows of token ids that a module is given; one that is empty for embeddings."""
    ids = keywords.get("input_ids", args[0] if args else None)
    if not isinstance(ids, Tensor) or ids.is_floating_point():
        return [()]
    return [tuple(row) for row in ids.reshape(-1, ids.shape[-1]).tolist()]


def _absent(encoder: Encoder, read: tuple[Ids, ...]) -> tuple[str, ...]:
    """Return the branches that an encoder did not read.

    Raises:
        CaptureError: what it read is of no branch.
    """
    branches = tuple(encoder.ids)
    for absent in ((), *((branch,) for branch in branches), branches):
        due = [ids for name in branches if name not in absent for ids in encoder.ids[name]]
        if read == tuple(dict.fromkeys(due)):
            return absent
    rows = list(dict.fromkeys(ids for branch_rows in encoder.ids.values() for ids in branch_rows))
    difference = _difference(read, rows, encoder.tokenizer.convert_ids_to_tokens)
    raise CaptureError(f"{encoder.name} reads {difference}; {CHANGED}")


def _difference(read: Sequence[Ids], rows: Sequence[Ids], name: Callable[[int], str]) -> str:
    """Describe the first difference between the ids read and the tokens of the trace."""
    for ids, row in zip(read, rows, strict=False):
        if not ids:
            return "embeddings in place of token ids"
        for index, (number, due) in enumerate(zip(ids, row, strict=False)):
            if number != due:
                return (
                    f"token {number} at position {index}, where the prompt has {name(due)!r} "
                    f"(token {due})"
                )
        if len(ids) != len(row):
            return f"{len(ids)} tokens, where the trace has {len(row)}"
    return f"{len(read)} distinct texts, where the trace has {len(rows)}"
