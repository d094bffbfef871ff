"""Give the weights of checkpoint files the names that diffusers and transformers use.

The key maps are those of diffusers. They leave out in silence what they do not know, so nothing
here is to be believed before `fit.compare` has said that it fits.
"""
# diffusers leaves its converters untyped.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers.loaders import single_file_utils as library
from torch import Tensor

from attn.backends.loading.weights import gates as gating
from attn.checkpoints.families import layouts
from attn.checkpoints.layouts import Naming, numbered

Tensors = dict[str, Tensor]

IDENTITY = {("clip_l", "text_projection.weight")}
"""What is the identity where a file leaves it out, as the authors' own code of SD3 has it."""

HEAD = "lm_head.weight"
"""What a language model writes with, which none that encodes texts has."""

TIED = ("shared.weight", "encoder.embed_tokens.weight")
"""T5's one table of embeddings; files hold it under either name, or both."""

_OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v."}
"""Names of autoencoders that early versions of diffusers saved."""


def rename(part: str, tensors: Mapping[str, Tensor], model: Any) -> Tensors:
    """Return the weights of one part under the names of the model's own state.

    Args:
        part: `unet`, `controlnet`, `dit`, `vae`, `clip_l`, `clip_g`, `t5xxl`, or `network` for any
            other, whose names are those of the model.
        tensors: by name without prefix, in any layout that is known for the part.
        model: the part as a model, for its configuration and names; weights are not needed.

    Raises:
        KeyError: a tensor is missing that the layout must have.
    """
    return _RENAME[part](dict(tensors), model)


def may_lack(part: str, model: Any) -> set[str]:
    """Return the names in a model's state that files may leave out: see `IDENTITY`."""
    state = model.state_dict()
    return {name for owner, name in IDENTITY if owner == part and name in state}


def may_hold(part: str, model: Any) -> set[str]:
    """Return names that files may hold though a model does not read them."""
    names = {name for owner, name in IDENTITY if owner == part}
    if part == "dit":
        names |= {name for layout in layouts() for name in layout.unused}
    if part == "clip_h":
        stem = f"{_LAYER}{model.config.num_hidden_layers}."
        names |= {"text_projection", "text_projection.weight"}
        names |= {stem + name for name in _OPEN_CLIP_LAYER}
    if part in ("qwen3", "qwen3vl"):
        names.add(HEAD)
    return names - set(model.state_dict())


def fill(part: str, tensors: Tensors, model: Any) -> None:
    """Add what a file left out, in place."""
    state = model.state_dict()
    for name in may_lack(part, model) - tensors.keys():
        tensors[name] = torch.eye(len(state[name]))


def _unet(tensors: Tensors, model: Any) -> Tensors:
    if not any(name.startswith("input_blocks.") for name in tensors):
        return tensors
    prefixed = {library.LDM_UNET_KEY + name: tensor for name, tensor in tensors.items()}
    return dict(library.convert_ldm_unet_checkpoint(prefixed, model.config))


def _controlnet(tensors: Tensors, model: Any) -> Tensors:
    if not any(name.startswith("input_blocks.") for name in tensors):
        return tensors
    return dict(library.convert_controlnet_checkpoint(tensors, model.config))


def _dit(tensors: Tensors, model: Any) -> Tensors:
    layout = next((each for each in layouts() if each.is_of(tensors)), None)
    if layout is not None:
        return _of_layout(layout, tensors, model)
    if not any(name.startswith("joint_blocks.") for name in tensors):
        return tensors
    gates = gating.split(tensors, model)
    return gates | dict(library.convert_sd3_transformer_checkpoint_to_diffusers(tensors))


def _of_layout(layout: Naming, tensors: Tensors, model: Any) -> Tensors:
    """Cut the authors' tensors into those of a model; what it has no room for keeps its name."""
    state, renamed = model.state_dict(), {}
    for name, tensor in tensors.items():
        if name in layout.unused:
            continue
        targets = layout.targets(name) or ()
        rows = [len(state[target]) for target in targets if target in state]
        if not rows or len(rows) < len(targets):
            renamed[name] = tensor
            continue
        whole = torch.cat(tensor.chunk(2)[::-1]) if layout.is_swapped(name) else tensor
        table = state[targets[0]]
        if numbered(name)[0] in layout.tensors and whole.dim() == 1:  # rows one behind the other
            whole = whole.reshape(table.shape) if whole.numel() == table.numel() else whole
        fits = len(targets) > 1 and sum(rows) == len(whole)
        renamed |= zip(targets, whole.split(rows) if fits else [whole], strict=False)
    return renamed


def _vae(tensors: Tensors, model: Any) -> Tensors:
    if any(name.startswith(("encoder.down.", "decoder.up.")) for name in tensors):
        norms = {name: value for name, value in tensors.items() if name.startswith("bn.")}
        return norms | dict(library.convert_ldm_vae_checkpoint(tensors, model.config))
    names = {name: name.replace(".proj_attn.", ".to_out.0.") for name in tensors}
    for old, new in _OLD_ATTENTION.items():
        names = {name: changed.replace(old, new) for name, changed in names.items()}
    return {names[name]: tensor for name, tensor in tensors.items()}


_LAYER = "transformer.resblocks."
_OPEN_CLIP_LAYER = (
    *("attn.in_proj_weight", "attn.in_proj_bias"),
    *(
        f"{module}.{end}"
        for module in ("attn.out_proj", "ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj")
        for end in ("weight", "bias")
    ),
)
"""Tensors of a layer under OpenCLIP's names; Stable Diffusion 2.x leaves out the last."""


def _clip(tensors: Tensors, model: Any) -> Tensors:
    if any(".resblocks." in name for name in tensors):
        beyond = f"{_LAYER}{model.config.num_hidden_layers}."
        tensors = {name: value for name, value in tensors.items() if not name.startswith(beyond)}
        tensors = dict(library.convert_open_clip_checkpoint(model, tensors, prefix=""))
    named = {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}
    state = model.state_dict()
    if "text_projection.weight" not in state:  # SDXL and SD1.x read the states before it
        named.pop("text_projection.weight", None)
    wrapped = any(name.startswith("text_model.") for name in state)
    level = "text_model." if wrapped else ""  # transformers 5.6 took it out of some of its models
    return {
        name if name.startswith("text_projection.") else level + name: tensor
        for name, tensor in named.items()
    }


def _t5(tensors: Tensors, model: Any) -> Tensors:
    for name, twin in (TIED, TIED[::-1]):
        if name in tensors:
            tensors.setdefault(twin, tensors[name])
    return tensors


def _language(tensors: Tensors, model: Any) -> Tensors:
    """Name a language model's weights without the level that its head stands beside."""
    is_bare = not any(name.startswith("model.") for name in model.state_dict())
    if is_bare:
        tensors = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
        tensors.pop(HEAD, None)
    return _plain(tensors, model)


_OLD_SEEING = {
    "visual.": "model.visual.",
    **{f"model.{name}.": f"model.language_model.{name}." for name in ("layers", "norm")},
    "model.embed_tokens.": "model.language_model.embed_tokens.",
}
"""Beginnings of names that language models that see had before transformers 5."""


def _seeing(tensors: Tensors, model: Any) -> Tensors:
    """Give a language model that sees its names of today."""
    renamed = {}
    for name, tensor in tensors.items():
        old = next(filter(name.startswith, _OLD_SEEING), "")
        renamed[_OLD_SEEING.get(old, "") + name.removeprefix(old)] = tensor
    return _plain(renamed, model)


def _seeing_alone(tensors: Tensors, model: Any) -> Tensors:
    """Give a language model that sees, without its head, its names of today."""
    tensors = {name: tensor for name, tensor in tensors.items() if name != HEAD}
    named = _seeing(tensors, model)
    return {name.removeprefix("model."): tensor for name, tensor in named.items()}


def _plain(tensors: Tensors, model: Any) -> Tensors:
    """Add the other names of tied weights, of which files hold one."""
    for name, twin in getattr(model, "all_tied_weights_keys", {}).items():
        if twin in tensors:
            tensors.setdefault(name, tensors[twin])
    return tensors


_RENAME: dict[str, Callable[[Tensors, Any], Tensors]] = {
    "network": _plain,
    "unet": _unet,
    "controlnet": _controlnet,
    "dit": _dit,
    "vae": _vae,
    "clip_l": _clip,
    "clip_g": _clip,
    "clip_h": _clip,
    "t5xxl": _t5,
    "qwen3": _language,
    "qwen25vl": _seeing,
    "qwen3vl": _seeing_alone,
    "gemma2": _language,
    "umt5xxl": _t5,
}
