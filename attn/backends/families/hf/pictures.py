"""Pictures that a language model reads in its text: what its processor makes of one, and where."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import AutoProcessor

from attn.backends.chat.prompts import Template, Vocabulary, render, tokenize
from attn.backends.loading import tokenizers
from attn.backends.loading.explain import explained
from attn.backends.loading.quiet import quiet
from attn.errors import ModelError, RequestError
from attn.files.images import DRAWINGS, MOST_BYTES, UndecodableImageError, decode_image
from attn.files.outside import read_bytes
from attn.schema import Grid, Segment, Token

IMAGE, PROMPT = "image", "prompt"
TAP = "attn.tap captures what your own code runs, with segments= and grid= (docs/python.md)"
TEXTS = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")
"""What a processor returns of the text, which is tokenized here."""


@dataclass(frozen=True)
class Picture:
    """A picture as a model is given it.

    Attributes:
        inputs: what the model is given besides ids in the forward that reads the prompt.
        token: text of the token that stands for a part of the picture.
        number: its id.
        grid: rows and columns of these tokens.
    """

    inputs: Mapping[str, Tensor]
    token: str
    number: int
    grid: Grid

    def arguments(self, ids: Tensor, model: Any) -> dict[str, Tensor]:
        """Return what a model is given besides `ids`, those of the whole prompt."""
        given = {
            name: value.to(model.device, model.dtype if value.is_floating_point() else None)
            for name, value in self.inputs.items()
        }
        if "mm_token_type_ids" in inspect.signature(model.forward).parameters:
            given["mm_token_type_ids"] = (ids == self.number).long()
        return given


def read_picture(folder: Path, file: str) -> Picture:
    """Return what the processor of a model makes of a picture.

    Args:
        folder: of the model.
        file: of the picture.

    Raises:
        ModelError: there is no processor, or it does not say where the picture's tokens lie.
        RequestError: the file is no picture.
    """
    path = Path(file).expanduser()
    try:
        image = decode_image(read_bytes(path, limit=MOST_BYTES, error=RequestError), DRAWINGS)
    except UndecodableImageError as error:
        raise RequestError(f"{path} is no picture that can be read: {error}") from error
    with quiet(), explained(f"cannot load the processor in {folder}"):
        processor = tokenizers.read(AutoProcessor, folder)
    token, number = (getattr(processor, name, None) for name in ("image_token", "image_token_id"))
    if not isinstance(token, str) or not isinstance(number, int):
        raise ModelError(
            f"{type(processor).__name__} does not say which tokens stand for a picture; {TAP}"
        )
    with explained(f"{type(processor).__name__} cannot read {path}"):
        read = processor(images=[image.convert("RGB")], text=[token], return_tensors="pt")
    count = int((read["input_ids"] == number).sum())
    grid = _find_grid(processor, read)
    if grid is None or grid[0] * grid[1] != count:
        raise ModelError(
            f"{type(processor).__name__} does not say how the {count} tokens of a picture lie in "
            f"rows and columns; {TAP}"
        )
    inputs = {name: value for name, value in read.items() if name not in TEXTS}
    return Picture(inputs, token, number, grid)


def _find_grid(processor: Any, read: Mapping[str, Tensor]) -> Grid | None:
    """Return rows and columns of the tokens of one picture, if its processor tells them."""
    if "image_grid_thw" in read and len(read["image_grid_thw"]) == 1:
        frames, rows, columns = read["image_grid_thw"][0].tolist()
        merged = getattr(processor.image_processor, "merge_size", None)
        is_even = isinstance(merged, int) and not (rows % merged or columns % merged)
        return (rows // merged, columns // merged) if is_even and frames == 1 else None
    size, pixels = getattr(processor, "patch_size", None), read.get("pixel_values")
    if not isinstance(size, int) or pixels is None or pixels.ndim != 4 or len(pixels) != 1:  # noqa: PLR2004 - picture, channel, row, column
        return None
    return pixels.shape[2] // size, pixels.shape[3] // size


def read_with_picture(
    vocabulary: Vocabulary, prompt: str, template: Template, picture: Picture
) -> tuple[Token, ...]:
    """Tokenize a prompt beside a picture: text before it, the picture's tokens, text behind it.

    Args:
        vocabulary: of the model.
        prompt: what the user wrote.
        template: of the chat; says where the picture goes.
        picture: that is read.

    Returns:
        a token per position, in the segments `image` and `prompt`, and `lead` or `tail` for what
        the template puts on the other side of the picture.

    Raises:
        ModelError: the template does not say where the picture goes.
        RequestError: the prompt spells the picture's token.
    """
    if template is None:
        raise ModelError(
            "without a chat template it is unclear where the picture goes; give one that puts it "
            "there (Jinja) by --set chat_template=FILE"
        )
    if picture.token in prompt:
        raise RequestError(f"the prompt spells the token of a picture, {picture.token}")
    text, begin = render(vocabulary.tokenizer, prompt, template, with_picture=True)
    head, token, rest = text.partition(picture.token)
    if not token or picture.token in rest:
        raise ModelError(
            f"the chat template puts {text.count(picture.token)} pictures into the text, expected "
            "1; give another one (Jinja) by --set chat_template=FILE"
        )
    rows, columns = picture.grid
    whole = head + picture.token * (rows * columns) + rest
    moved = (rows * columns - 1) * len(picture.token) if begin >= len(head) else 0
    tokens = tokenize(vocabulary, prompt, whole, begin + moved, add_special_tokens=False)
    count = sum(token.id == picture.number for token in tokens)
    if count != rows * columns:
        raise ModelError(
            f"the tokenizer makes {count} tokens of the picture's {rows * columns}; {TAP}"
        )
    return _with_segments(tokens, picture)


def _with_segments(tokens: tuple[Token, ...], picture: Picture) -> tuple[Token, ...]:
    places = [token.position for token in tokens if token.id == picture.number]
    first, last = places[0], places[-1]
    is_behind = any(token.is_content and token.position > last for token in tokens)
    sides = ("lead", PROMPT) if is_behind else (PROMPT, "tail")
    return tuple(
        replace(
            token,
            segment=sides[0]
            if token.position < first
            else sides[1]
            if token.position > last
            else IMAGE,
        )
        for token in tokens
    )


def lay_out(tokens: tuple[Token, ...], grid: Grid | None) -> tuple[Segment, ...]:
    """Return the segments of a prompt: runs of tokens; `grid` is that of its picture."""
    segments = []
    for name, run in groupby(tokens, key=lambda token: token.segment):
        places = [token.position for token in run]
        kind: Any = IMAGE if name == IMAGE else "text"
        of_image = grid if name == IMAGE else None
        segments.append(Segment(name, kind, places[0], places[-1] + 1, of_image))
    return tuple(segments)
