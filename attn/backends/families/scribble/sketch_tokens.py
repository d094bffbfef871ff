"""ScribbleDiffusion: a UNet that reads 77 tokens of a drawing after those of the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attn.backends.loading import recipe as recipes
from attn.backends.loading import source
from attn.backends.loading.family import Family
from attn.backends.loading.recipe import Recipe
from attn.backends.loading.source import Source
from attn.backends.loading.weights.fit import Misfit, misshapen
from attn.checkpoints import folders
from attn.checkpoints.folders import CONFIG, SCRIBBLE_FILES
from attn.checkpoints.headers import TensorInfo, read_header
from attn.errors import ModelError
from attn.files.disk import is_file
from attn.schema import Token

UNET, ENCODER, COMBINER = SCRIBBLE_FILES
SEGMENT = "sketch"
CONCATENATION = "concat"
STAGES = (64, 128, 256)
"""Channels of the published encoder's convolutions but the last."""


class SketchEncoder(nn.Module):
    """Turns a drawing into tokens, none of which stands for a place.

    Four convolutions that halve, the mean over all places, two linear layers.

    Parameters have the names of the published checkpoints.

    Args:
        hidden: channels of the last convolution.
        tokens: how many.
        width: of a token, as the UNet reads it.
        stages: channels of the convolutions before it.
    """

    def __init__(
        self, hidden: int, tokens: int, width: int, stages: Sequence[int] = STAGES
    ) -> None:
        super().__init__()
        self.tokens = tokens
        layers: list[nn.Module] = []
        for before, after in pairwise((1, *stages, hidden)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        self.conv_encoder = nn.Sequential(*layers)
        self.to_tokens = nn.Sequential(nn.Linear(hidden, hidden * tokens), nn.ReLU())
        self.to_cross_attn = nn.Linear(hidden, width)
        self.pos_embeddings = nn.Parameter(torch.zeros(1, tokens, width))

    def forward(self, drawings: Tensor) -> Tensor:
        """Return (drawing, token, width).

        Args:
            drawings: grey levels 0 to 1, (drawing, 1, row, column).
        """
        pooled = self.conv_encoder(drawings).mean((2, 3))
        states = self.to_tokens(pooled).unflatten(1, (self.tokens, -1))
        read: Tensor = self.to_cross_attn(states) + self.pos_embeddings
        return read


def collect(origin: Source, family: Family, options: Any) -> Recipe:
    """Find everything that a checkpoint and its base model are made of.

    Raises:
        ModelError: one of the three files or the base model is missing, or does not fit.
    """
    folder = origin.path
    _require_files(folder)
    _refuse_combiner(folder)
    if options.base is None and not folders.is_pipeline(folder):
        raise ModelError(
            f"{origin.requested} has a UNet and a sketch encoder; give the Stable Diffusion 1.x "
            "that it was made of, for text encoder, VAE and scheduler, with --set base=FOLDER"
        )
    base = folder if options.base is None else source.resolve(options.base, family.name).path
    unet = options.unet or str(folder / UNET)
    recipe = recipes.collect(Source(origin.requested, base), family, replace(options, unet=unet))
    files = dict(recipe.files) | {"sketch_encoder": folder / ENCODER}
    # what the UNet predicts, its file does not say, but the base model does
    return replace(recipe, files=files, warnings=(), checkpoint=None)


def load_encoder(path: Path, width: int, dtype: torch.dtype, *, weights: bool) -> SketchEncoder:
    """Load a sketch encoder, whose sizes its weights tell.

    Args:
        path: the file.
        width: that the UNet reads.
        dtype: of every weight.
        weights: False leaves it on the meta device.

    Raises:
        ModelError: weights are missing, unexpected or of other shapes.
    """
    from safetensors.torch import load_file

    tensors = read_header(path).tensors
    indices = range(0, 2 * len(STAGES) + 1, 2)
    *stages, hidden = (_size(tensors, f"conv_encoder.{index}.weight", 0, path) for index in indices)
    tokens = _size(tensors, "pos_embeddings", 1, path)
    with torch.device("meta"):
        encoder = SketchEncoder(hidden, tokens, width, stages)
    expected = {name: tuple(index.shape) for name, index in encoder.state_dict().items()}
    misfit = Misfit(
        missing=tuple(sorted(expected.keys() - tensors.keys())),
        unexpected=tuple(sorted(tensors.keys() - expected.keys())),
        misshapen=tuple(
            misshapen(name, tensors[name].shape, shape)
            for name, shape in sorted(expected.items())
            if name in tensors and tensors[name].shape != shape
        ),
    )
    if misfit:
        raise ModelError(
            f"{path}: the weights do not fit the sketch encoder: {misfit}; it is damaged, or of "
            "another training than the UNet: copy the files of one checkpoint again"
        )
    if weights:
        state = {name: index.to(dtype) for name, index in load_file(path).items()}
        encoder.load_state_dict(state, assign=True)
    return encoder.eval().requires_grad_(False)


def sketch_tokens(start: int, number: int) -> tuple[Token, ...]:
    """Return the drawing's tokens: none is text."""
    return tuple(
        Token(start + index, SEGMENT, -1, f"<sketch {index}>", True, False, 0, 0, None)
        for index in range(number)
    )


def as_drawings(images: Sequence[Tensor], size: int) -> Tensor:
    """Return pictures as the encoder reads them: (drawing, 1, size, size), by area.

    Args:
        images: grey levels 0 to 1, (row, column), of one size.
        size: rows and columns; 0 leaves them as they are.
    """
    stacked = torch.stack(list(images))[:, None]
    if not size:
        return stacked
    return nn.functional.interpolate(stacked, (size, size), mode="area")


def _size(tensors: Mapping[str, TensorInfo], name: str, axis: int, path: Path) -> int:
    if name not in tensors or len(tensors[name].shape) <= axis:
        raise ModelError(f"{path}: this is no sketch encoder: it has no '{name}'")
    return tensors[name].shape[axis]


def _require_files(folder: Path) -> None:
    missing = [name for name in SCRIBBLE_FILES if not is_file(folder / name)]
    if missing:
        raise ModelError(
            f"{folder} has no {' and no '.join(missing)}; a checkpoint of ScribbleDiffusion has "
            f"{', '.join(SCRIBBLE_FILES[:-1])} and {SCRIBBLE_FILES[-1]}: copy what is "
            "missing into the folder"
        )


def _refuse_combiner(folder: Path) -> None:
    """Refuse any combiner but plain concatenation, which has no weights, but not alone."""
    path = folder / COMBINER
    if read_header(path).tensors:
        names = ", ".join(list(read_header(path).tensors)[:3])
        raise ModelError(
            f"{path} has weights ({names} …): it combines text and sketch otherwise than by "
            "putting one after the other, which is all that is known here"
        )
    config = folder / CONFIG
    method = _combination(folders.read_object(config)) if is_file(config) else None
    if method is not None and not str(method).startswith(CONCATENATION):
        raise ModelError(
            f"{config}: text and sketch are combined by {method!r}; expected {CONCATENATION!r}, "
            "one after the other, which is all that is known here: the UNet was trained to read "
            "something else"
        )


def _combination(config: Mapping[str, Any]) -> Any:
    """Return the combination of text and sketch in a checkpoint's configuration, if any.

    Published configurations have the combiner under `architecture`.
    """
    inside = config.get("architecture")
    sections = (inside, config) if isinstance(inside, Mapping) else (config,)
    for section in sections:
        combiner = section.get("sketch_text_combiner")
        if not isinstance(combiner, Mapping):
            continue
        for name in ("combination_method", "method"):
            if name in combiner:
                return combiner[name]
    return None
