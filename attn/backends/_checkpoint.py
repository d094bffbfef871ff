"""One part of one checkpoint file becomes one model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from torch import Tensor

from attn.backends import _convert, _fit, _gates
from attn.backends._inventory import CONFIGS
from attn.errors import ModelError
from attn.headers import TensorInfo


@dataclass(frozen=True)
class Piece:
    """The tensors of one part in one file.

    Attributes:
        part: `unet`, `dit`, `vae`, `clip_l`, `clip_g` or `t5xxl`.
        path: the file.
        prefix: what the names begin with in the file.
        tensors: by name without prefix.
        title: what the file is taken for, in words that continue "this is …".
        config: folder of the part, with its configuration and this file; None for a file alone.
    """

    part: str
    path: Path
    prefix: str
    tensors: Mapping[str, TensorInfo]
    title: str
    config: Path | None = None


@dataclass(frozen=True)
class Kind:
    """What a part is to become.

    Attributes:
        cls: the model's class.
        config: folder with its config.json.
    """

    cls: type[Any]
    config: Path

    @property
    def is_diffusers(self) -> bool:
        """Whether it is a model of diffusers, not of transformers."""
        return issubclass(self.cls, diffusers.ModelMixin)

    @property
    def is_published(self) -> bool:
        """Whether the configuration is one of those that we bring along."""
        return self.config.is_relative_to(CONFIGS)

    def __str__(self) -> str:
        """Return what it is in words."""
        if self.is_published:
            return f"the published {self.cls.__name__} ({self.config.parent.name})"
        return f"{self.cls.__name__} as {self.config} has it"


def empty_model(kind: Kind) -> Any:
    """Build a model of its configuration without weights.

    Raises:
        ModelError: the configuration cannot be read or used.
    """
    try:
        if kind.is_diffusers:
            settings = dict(kind.cls.load_config(kind.config, local_files_only=True))
            with init_empty_weights(include_buffers=True):  # tables of positions take seconds
                return kind.cls.from_config(settings)
        config = kind.cls.config_class.from_pretrained(kind.config, local_files_only=True)
        with init_empty_weights():  # transformers keeps tables that are in no file
            return kind.cls(config)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as exc:
        raise ModelError(f"cannot use the configuration in {kind.config}: {_line(exc)}") from exc


def fitting_model(piece: Piece, kinds: Sequence[Kind]) -> Any:
    """Return the first model, without weights, that the piece fits.

    Raises:
        ModelError: it fits none; says why of the first.
    """
    _refuse_quantised(piece)
    shapes = {name: info.shape for name, info in piece.tensors.items()}
    problems = []
    for kind in kinds:
        model = empty_model(kind)
        misfit = _adapt(piece.part, shapes, model) or _fit.compare(piece.part, shapes, model)
        if not misfit:
            return model.eval()
        problems.append(f"{kind}: {misfit}")
    hint = (
        ". A model of another size is described by --set config=DIR, a diffusers folder with its "
        "configurations"
    )
    raise ModelError(
        f"{piece.path}: this is {piece.title}; its part {piece.part} does not fit {problems[0]}"
        f"{hint if all(kind.is_published for kind in kinds) else ''}"
    )


def _adapt(part: str, shapes: Mapping[str, tuple[int, ...]], model: Any) -> str | None:
    """Give a model what a checkpoint has beside its configuration; return what cannot be."""
    if part == "dit":
        try:
            _gates.add(model, shapes)
        except ValueError as error:
            return str(error)
    return None


def load_weights(piece: Piece, model: Any, dtype: torch.dtype) -> Any:
    """Read the weights of a model that was built without.

    Args:
        piece: where they are; it fits.
        model: from `fitting_model`.
        dtype: what they are converted to, from whatever the file holds.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        state = _convert.rename(piece.part, dict(_read(piece)), model)
        _convert.fill(piece.part, state, model)
        _cast(state, model, dtype)
    except (OSError, SafetensorError, RuntimeError, ValueError) as exc:
        raise ModelError(f"cannot read {piece.path}: {_line(exc)}") from exc
    model.load_state_dict(state, strict=True, assign=True)
    if hasattr(model, "tie_weights"):
        model.tie_weights()
    return model


def _read(piece: Piece) -> Iterator[tuple[str, Tensor]]:
    with safe_open(piece.path, framework="pt") as file:
        for name in piece.tensors:
            yield name, file.get_tensor(piece.prefix + name)


def _cast(state: dict[str, Tensor], model: Any, dtype: torch.dtype) -> None:
    """Convert in place, one by one: whole models do not fit into memory twice."""
    exempt = getattr(model, "_keep_in_fp32_modules", None) if dtype == torch.float16 else None
    shared, twin = _convert.TIED
    is_tied = state.pop(twin, None) is not None
    for name in list(state):
        kept = not set(exempt or ()).isdisjoint(name.split("."))
        state[name] = state[name].to(torch.float32 if kept else dtype)
    if is_tied:
        state[twin] = state[shared]


def _refuse_quantised(piece: Piece) -> None:
    for name, info in piece.tensors.items():
        if not info.dtype.startswith(("F", "BF")):
            raise ModelError(
                f"{piece.path}, part {piece.part}: '{name}' holds {info.dtype}, expected "
                "floating-point weights; quantised files are not read, use the fp16 or bf16 file"
            )


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
