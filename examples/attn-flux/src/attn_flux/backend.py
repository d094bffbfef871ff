"""Opening FLUX.1: a diffusers folder, a hub id, the demo, or a pipeline that is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from attn.backends import Backend, ModelInfo, Session
from attn.backends.shared import (
    align,
    choose_device,
    choose_dtype,
    count_parameters,
    dtype_name,
    fingerprint,
    load_network,
    load_tokenizer,
    quiet,
    read_index,
    resolve,
)
from attn.errors import ModelError, RequestError
from attn_flux import demo
from attn_flux.session import LONGEST, FluxSession

NETWORKS: Mapping[str, type[Any]] = {
    "transformer": FluxTransformer2DModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": T5EncoderModel,
}
TOKENIZERS: Mapping[str, type[Any]] = {"tokenizer": CLIPTokenizer, "tokenizer_2": T5Tokenizer}


@dataclass(frozen=True)
class FluxOptions:
    """Options of FLUX.1."""

    t5_tokens: int | None = field(
        default=None,
        metadata={"help": "positions of T5 (1 to 512); none: 512, schnell 256"},
    )
    true_cfg: float = field(
        default=1.0,
        metadata={"help": "classifier-free guidance against --negative; 1 is off"},
    )

    def __post_init__(self) -> None:
        if self.t5_tokens is not None and not 1 <= self.t5_tokens <= LONGEST:
            raise ValueError(f"t5_tokens must be 1 to {LONGEST}; got {self.t5_tokens}")
        if not 1 <= self.true_cfg < float("inf"):
            raise ValueError(f"true_cfg must be 1 or more; got {self.true_cfg}")


class FluxBackend(Backend):
    """FLUX.1 dev and schnell."""

    Options = FluxOptions
    example_prompt = "a red cat on a wooden chair"

    def open(
        self,
        source: str | Path | object,
        options: FluxOptions,
        *,
        device: str = "auto",
        dtype: str = "auto",
        offload: str = "none",
        weights: bool = True,
    ) -> Session:
        """Open a model; see `Backend.open`."""
        if isinstance(source, FluxPipeline):
            return adopt(source, options)
        device = choose_device(device)
        kind = choose_dtype(dtype, device)
        if source == "demo":
            pipe, identity = demo.pipeline(kind, weights=weights), {"revision": demo.REVISION}
            known = lambda: identity  # noqa: E731 - ModelInfo wants a function
        else:
            found = resolve(str(source), "flux", expected="a diffusers folder")
            pipe = load_pipeline(found.path, kind, weights=weights)
            files = {} if found.revision is not None else {"": found.path}
            known = fingerprint(files, found.revision) if weights else dict
        pipe.set_progress_bar_config(disable=True)
        if weights:
            place(pipe, device, offload)
        count = count_parameters(pipe.transformer)
        return FluxSession(pipe, ModelInfo(str(source), known, dtype_name(kind), count), options)


def load_pipeline(folder: Path, dtype: torch.dtype, *, weights: bool) -> Any:
    """Load a pipeline part by part: every weight must be there."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: expected a diffusers folder; single files are not supported")
    name = read_index(folder)["_class_name"]
    if name != "FluxPipeline":
        raise ModelError(f"{folder} is a {name}; this backend opens a FluxPipeline")
    networks = {
        part: load_network(cls, folder / part, dtype=dtype, weights=weights)
        for part, cls in NETWORKS.items()
    }
    readers = {part: load_tokenizer(cls, folder / part) for part, cls in TOKENIZERS.items()}
    with quiet():
        try:
            scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(
                folder / "scheduler", local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot load {folder / 'scheduler'}: {error}") from error
        return FluxPipeline(scheduler=scheduler, **networks, **readers)


def place(pipe: Any, device: str, offload: str) -> None:
    """Move a pipeline to where it runs."""
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            align(part)
    if offload == "none":
        pipe.to(device)
    elif device == "cpu":
        raise RequestError("--offload model needs a GPU to load parts to")
    else:
        pipe.enable_model_cpu_offload(device=device)


def adopt(pipe: Any, options: FluxOptions) -> Session:
    """Take a pipeline that is loaded, as it is."""
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.eval()
    source = str(pipe.config.get("_name_or_path") or "FluxPipeline")
    model = pipe.transformer
    info = ModelInfo(source, dict, dtype_name(model.dtype), count_parameters(model))
    return FluxSession(pipe, info, options)
