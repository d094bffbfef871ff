"""The weights of one part, in one checkpoint file or a folder of its own, become one model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors import safe_open
from torch import Tensor

from attn.backends.loading.explain import explained, suspects
from attn.backends.loading.weights import convert, fit, gates
from attn.backends.loading.weights.folder import read_settings, weight_files
from attn.backends.loading.weights.unfilled import Unfilled
from attn.checkpoints.folders import CONFIG
from attn.checkpoints.headers import TensorInfo, read_header
from attn.checkpoints.inventory import CONFIGS, SEEING
from attn.checkpoints.other_models import UNUSED
from attn.errors import ModelError

CLASSES = {"CLIPTextModel": "clip_l", "CLIPTextModelWithProjection": "clip_l"} | {
    "T5EncoderModel": "t5xxl",
    "AutoencoderKL": "vae",
    "AutoencoderKLFlux2": "vae",
    "Qwen3Model": "qwen3",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen2_5_VLForConditionalGeneration": "qwen25vl",
    "Qwen3VLModel": "qwen3vl",
    "Gemma2Model": "gemma2",
    "UMT5EncoderModel": "umt5xxl",
}
"""Parts whose names changed over time, by the class of their model."""
COUNTER = ".num_batches_tracked"
"""How many batches a norm saw in training: a number beside weights, on which nothing depends."""
KERNELS = ("eager", "sdpa")
"""Attention that needs no other package, nor code from the hub."""


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
class ModelSpec:
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
        """Describe it in words."""
        if self.is_published:
            return f"the published {self.cls.__name__} ({self.config.parent.name})"
        return f"{self.cls.__name__} as {self.config} has it"


def empty_model(kind: ModelSpec, *, tables: bool = False) -> Any:
    """Build a model of its configuration without weights.

    Args:
        kind: what it is to become.
        tables: whether a model of diffusers gets its tables of positions, which take seconds;
            models of transformers always do, for they are in no file.

    Raises:
        ModelError: the configuration cannot be read or used.
    """
    settings = read_settings(kind.config / CONFIG)
    hint = suspects(kind.cls, settings)
    with explained(f"cannot use the configuration in {kind.config}", hint):
        if kind.is_diffusers:
            with Unfilled(tables=tables):
                return kind.cls.from_config(settings)
        config = kind.cls.config_class.from_dict(_model_section(kind, settings))
        with Unfilled():
            return kind.cls(config)


def _model_section(kind: ModelSpec, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a model of transformers, of which others may be around them."""
    key = getattr(kind.cls.config_class, "base_config_key", "")
    section = settings.get(key)
    selected = section if isinstance(section, dict) else settings
    for name, value in selected.items():
        if name.endswith("attn_implementation") and value not in (None, *KERNELS):
            raise ModelError(
                f"{kind.config / CONFIG}: {name} is {value!a}; expected one of "
                f"{', '.join(KERNELS)}, for other attention is code from elsewhere"
            )
    return selected


def fitting_model(piece: Piece, kinds: Sequence[ModelSpec]) -> Any:
    """Return the first model, without weights, that the piece fits.

    Raises:
        ModelError: it fits none; says why of the first.
    """
    _refuse_quantised(piece)
    shapes = {name: info.shape for name, info in piece.tensors.items()}
    problems = []
    for kind in kinds:
        model = empty_model(kind)
        misfit = _adapt(piece.part, shapes, model) or fit.compare(piece.part, shapes, model)
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
            gates.add(model, shapes)
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
    with explained(f"cannot read {piece.path}"):
        state = dict(_read(piece.path, {piece.prefix + name: name for name in piece.tensors}))
        return _filled(piece.part, state, model, dtype)


def load_folder(folder: Path, model: Any, dtype: torch.dtype) -> Any:
    """Read the weights of a model that was built without from its folder.

    Args:
        folder: with the files; which of them are read, `weight_files` says.
        model: of the folder's configuration.
        dtype: what the weights are converted to.

    Raises:
        ModelError: a file is missing, damaged or pickled, or a weight is missing, left over or of
            another shape.
    """
    part = CLASSES.get(type(model).__name__, "network")
    expected = model.state_dict().keys()
    shapes: dict[str, tuple[int, ...]] = {}
    names_by_file: dict[Path, dict[str, str]] = {}
    for file in weight_files(folder):
        held = read_header(file).tensors
        is_seeing = part in SEEING
        names = [name for name in held if name in expected or is_seeing or not UNUSED.match(name)]
        shapes |= {name: held[name].shape for name in names}
        names_by_file[file] = dict(zip(names, names, strict=True))
    misfit = fit.compare(part, shapes, model)
    if misfit:
        raise ModelError(
            f"the weights in {folder} do not fit {type(model).__name__}: {misfit}; they are of "
            f"another model than its {CONFIG}, or damaged: save or download the folder again"
        )
    with explained(f"cannot load {folder}"):
        state = {
            key: tensor
            for file, names in names_by_file.items()
            for key, tensor in _read(file, names)
        }
        _filled(part, state, model, dtype)
    empty = [name for name, table in _tables(model) if table.is_meta]
    if empty:
        raise ModelError(
            f"{type(model).__name__} computes {', '.join(empty[:3])}, which is in no file: such "
            "networks cannot be loaded here"
        )
    return model


def _compute_tables(model: Any) -> None:
    """Give a model of diffusers the tables that are in no file, if it was built without."""
    empty = [name for name, table in _tables(model) if table.is_meta]
    build = getattr(type(model), "from_config", None)  # of transformers they are never left out
    if not empty or build is None:
        return
    with Unfilled(tables=True):
        tables = dict(_tables(build(model.config)))
    for name in empty:
        owner, _, attribute = name.rpartition(".")
        module = model.get_submodule(owner)
        if attribute in vars(module):
            setattr(module, attribute, tables[name])
        else:
            module.register_buffer(attribute, tables[name], persistent=False)


def _tables(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield what a model computes for itself, by name: buffers, and tensors that are none."""
    yield from model.named_buffers()
    for owner, module in model.named_modules():
        for attribute, value in vars(module).items():
            if isinstance(value, Tensor):
                yield f"{owner}.{attribute}".removeprefix("."), value


def _filled(part: str, state: dict[str, Tensor], model: Any, dtype: torch.dtype) -> Any:
    """Give a model its weights, which fit."""
    state = convert.rename(part, state, model)
    convert.fill(part, state, model)
    _cast(state, model, dtype)
    model.load_state_dict(state, strict=True, assign=True)
    if hasattr(model, "tie_weights"):
        model.tie_weights()
    _compute_tables(model)
    return model


def _read(path: Path, names: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
    """Yield tensors of a file under new names, by their names in it."""
    with safe_open(path, framework="pt") as file:
        for name, new in names.items():
            yield new, file.get_tensor(name)


def _cast(state: dict[str, Tensor], model: Any, dtype: torch.dtype) -> None:
    """Convert in place, one by one: whole models do not fit into memory twice."""
    # transformers keeps such modules from float16 alone, diffusers from bfloat16, too
    is_kept = dtype == torch.float16 or isinstance(model, diffusers.ModelMixin)
    exempt = getattr(model, "_keep_in_fp32_modules", None) if is_kept else None
    shared, twin = convert.TIED
    is_tied = state.pop(twin, None) is not None
    for name in list(state):
        kept = not set(exempt or ()).isdisjoint(name.split("."))
        if state[name].is_floating_point():
            state[name] = state[name].to(torch.float32 if kept else dtype)
    if is_tied:
        state[twin] = state[shared]


def _refuse_quantised(piece: Piece) -> None:
    for name, info in piece.tensors.items():
        if not info.dtype.startswith(("F", "BF")) and not name.endswith(COUNTER):
            raise ModelError(
                f"{piece.path}, part {piece.part}: '{name}' holds {info.dtype}, expected "
                "floating-point weights; quantised files are not read, use the fp16 or bf16 file"
            )
