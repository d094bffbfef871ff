"""Tiny transformers of diffusers: their configurations, and what each is called with.

`SIZES` says how small each parameter of a constructor becomes, `INPUTS` what each argument of
`forward` is; a class takes those that its signatures name. `IMAGES` and `OTHERS`, in modules of
their own, list the classes, each with what differs. Sizes are distinct, and grids are not square
where a class allows it: 2 samples, 2 layers, 3 heads of 12 channels (2, 4 and 6 of them turned by
frame, row and column), 5 latent channels, 7 words of 11 channels, 2 frames of 5 × 3 patches.
"""

import inspect
from dataclasses import dataclass, field
from typing import Any

import torch

HEADS, HEAD = 3, 12
WIDTH = HEADS * HEAD
LATENT, WORD, POOLED, PICTURE = 5, 11, 13, 17  # channels of each
FRAMES, ROWS, COLUMNS, WORDS = 2, 5, 3, 7
PATCHES = ROWS * COLUMNS
AXES = (2, 4, 6)
LENGTH = PATCHES + WORDS
CROSS = {"cross_attention_dim": WIDTH}
SANA = CROSS | {"num_cross_attention_heads": HEADS, "cross_attention_head_dim": HEAD}
CLASSIC = {"in_channels": WIDTH, "out_channels": WIDTH, "norm_num_groups": HEADS}
SIZES: dict[str, Any] = (
    dict.fromkeys(["num_layers", "num_single_layers", "num_hidden_layers", "n_layers", "depth"], 2)
    | dict.fromkeys(["num_refiner_layers", "n_refiner_layers", "num_mmdit_layers"], 1)
    | dict.fromkeys(["num_attention_heads", "n_heads", "num_heads"], HEADS)
    | dict.fromkeys(["attention_head_dim", "head_dim"], HEAD)
    | dict.fromkeys(["hidden_size", "dim", "embed_dim", "model_dim"], WIDTH)
    | dict.fromkeys(["in_channels", "out_channels"], LATENT)
    | dict.fromkeys(["text_dim", "joint_attention_dim", "text_embed_dim", "caption_channels"], WORD)
    | dict.fromkeys(["text_in_dim", "context_in_dim", "cap_feat_dim", "llm_features_dim"], WORD)
    | dict.fromkeys(["ffn_dim", "intermediate_size", "ffn_hidden_size", "ff_inner_dim"], 19)
    | dict.fromkeys(["freq_dim", "time_embed_dim", "time_step_dim", "timestep_embed_dim"], 14)
    | dict.fromkeys(["axes_dims_rope", "axes_dims", "axes_dim_rope", "rope_axes_dim"], AXES)
    | dict.fromkeys(["rope_dim_list"], AXES)
    | {"pooled_projection_dim": POOLED, "num_key_value_heads": 1, "num_kv_heads": 1}
    | {"axes_lens": (71, 37, 41), "rope_max_seq_len": 32, "mlp_ratio": 2, "multiple_of": 2}
)


def noise(*shape: int) -> torch.Tensor:
    """Return numbers that are the same in every run."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def grid(*sizes: int, width: int = 3) -> torch.Tensor:
    """Return the position of each cell, (cell, axis), with zeros for the leading axes."""
    cells = torch.cartesian_prod(*map(torch.arange, sizes)).reshape(-1, len(sizes)).float()
    return torch.nn.functional.pad(cells, (width - len(sizes), 0))


def tokens(length: int = PATCHES, channels: int = LATENT) -> torch.Tensor:
    """Return a sequence for each sample."""
    return noise(2, length, channels)


def image(channels: int = LATENT) -> torch.Tensor:
    """Return latents of 5 × 3 patches of 2 × 2."""
    return noise(2, channels, 2 * ROWS, 2 * COLUMNS)


def video(channels: int = LATENT, frames: int = FRAMES) -> torch.Tensor:
    """Return latents of frames of 5 × 3 patches of 2 × 2."""
    return noise(2, channels, frames, 2 * ROWS, 2 * COLUMNS)


def film(channels: int = LATENT) -> torch.Tensor:
    """Return latents whose frames come before their channels."""
    return video(channels).transpose(1, 2)


TIMES = torch.tensor([0.25, 0.75])
INPUTS: dict[str, Any] = (
    dict.fromkeys(["timestep", "timesteps", "timestep_r", "r_timestep", "t"], TIMES)
    | {"encoder_hidden_states": noise(2, WORDS, WORD), "guidance": torch.ones(2)}
    | dict.fromkeys(
        ["encoder_attention_mask", "encoder_hidden_states_mask"], torch.ones(2, WORDS).bool()
    )
    | dict.fromkeys(["pooled_projections", "pooled_embeds"], noise(2, POOLED))
    | {"img_ids": grid(ROWS, COLUMNS), "txt_ids": torch.zeros(WORDS, 3)}
    | {"img_shapes": [(1, ROWS, COLUMNS)] * 2}
    | {"num_frames": FRAMES, "height": ROWS, "width": COLUMNS}
    | {"original_size": torch.tensor([[80, 48]] * 2), "target_size": torch.tensor([[80, 48]] * 2)}
    | {"crop_coords": torch.zeros(2, 2, dtype=torch.long)}
)


@dataclass(frozen=True)
class Tiny:
    """What a class differs in; an argument or a size that is `...` keeps its default."""

    hidden_states: torch.Tensor | None
    sizes: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)


def build(kind: type, tiny: Tiny) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Return a model with random weights, and the arguments of a call."""
    torch.manual_seed(5)
    model = kind(**_arguments(kind.__init__, SIZES, tiny.sizes)).eval()
    for weight in model.parameters():  # some leave theirs as the memory was
        torch.nn.init.normal_(weight, std=0.3)
    states = {} if tiny.hidden_states is None else {"hidden_states": tiny.hidden_states}
    return model, _arguments(kind.forward, INPUTS, states | tiny.inputs)


def _arguments(function: Any, rules: dict[str, Any], special: dict[str, Any]) -> dict[str, Any]:
    """Return what the rules have for the parameters of a function, and what is special."""
    named = inspect.signature(function).parameters
    values = {name: value for name, value in rules.items() if name in named} | special
    return {name: value for name, value in values.items() if value is not ...}
