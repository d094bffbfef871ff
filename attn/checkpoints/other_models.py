"""Names by which files that are no model of ours are known.

The patterns are searched in the names of a file's tensors, one per line, in which every number
between dots is written as 0.
"""

from __future__ import annotations

import re
from typing import NamedTuple

BASE = "give the model that it was made for as --model"


class FileKind(NamedTuple):
    """A kind of file: what tells it, its name after "this is", and what to do instead."""

    pattern: str
    title: str
    advice: str


EMBEDDING = FileKind(
    r"^(?:string_to_param\.|emb_params$)",
    "an embedding (textual inversion)",
    f"it holds words for a text encoder, not a model; {BASE}",
)
ADDONS = (
    FileKind(
        r"\.lora_(?:down|up|mid|A|B)\b|\.lora\.(?:down|up)\.|_lora\.(?:down|up)\.|\.dora_scale$"
        r"|\.(?:hada_[wt]\d(?:_[ab])?|lokr_[wt]\d(?:_[ab])?|oft_blocks|oft_diag|diff(?:_b)?|on_input)$",
        "a LoRA or LyCORIS file",
        f"it holds changes to a model, not a model; {BASE}",
    ),
    FileKind(
        r"^(?:control_model|controlnet_\w+|control_layers|input_hint_block|zero_convs"
        r"|lllite_unet_\w+|control_add_embedding)\.|^(?:control|lllite)_\w+_blocks?\.",
        "a ControlNet",
        "it steers a model and cannot draw alone: use --backend scribble, with --model for what "
        "it was made for and --set controlnet= for this",
    ),
    FileKind(
        r"^(?:ip_adapter|image_proj|adapter|motion_encoder)\.|\.motion_modules\.",
        "an adapter (IP-Adapter, T2I-Adapter or motion module)",
        f"it changes a model and cannot draw alone; {BASE}",
    ),
    EMBEDDING,
    FileKind(
        r"^(?:model\.0\.sub\.0\.|body\.0\.rdb\d|RRDB_trunk\.|conv_first\.|params_ema\."
        r"|layers\.0\.residual_group\.)",
        "an upscaler",
        "it enlarges pictures and does not read prompts; give a text-to-image model",
    ),
)

NO_BACKEND = "no backend for it is built in; see `attn backends` for those that are installed"

LANGUAGE = FileKind(
    r"^(?:model\.)?transformer\.blocks\.0\.(?:q_proj|attn_norm|ff_proj|up_proj|attn_out|ff_out)\.",
    "weights of a language model in the layout of MMaDA and LLaDA",
    "give the folder that it lies in, with its config.json, to --backend mmada",
)
OTHERS = tuple(
    FileKind(pattern, title, NO_BACKEND)
    for pattern, title in (
        (r"(?:^|\.)(?:single_stream_modulation|early_stream_modulations)\.", "a later Flux"),
        (r"(?:^|\.)double_blocks\.0\.img_attn\.|(?:^|\.)single_transformer_blocks\.0\.", "Flux"),
        (r"(?:^|\.)double_layers\.0\.attn\.|(?:^|\.)cond_seq_linear\.", "AuraFlow"),
        (r"(?:^|\.)(?:clip_txt_mapper|down_blocks\.0\.0\.channelwise)\.", "Stable Cascade"),
        (r"(?:^|\.)cap_embedder\.", "Lumina 2"),
        (r"(?:^|\.)double_stream_blocks\.", "HiDream"),
        (r"(?:^|\.)individual_token_refiner\.", "HunyuanVideo"),
        (r"(?:^|\.)patchify_proj\.", "LTX-Video"),
        (r"(?:^|\.)head\.modulation$|(?:^|\.)blocks\.0\.cross_attn\.norm_k_img\.", "Wan"),
        (r"(?:^|\.)blocks\.0\.cross_attn\.(?:q_linear|kv_linear)\.", "Sana"),
        (r"(?:^|\.)encoder_hid_proj\.", "Kolors"),
        (r"\.time_stack\.|\.temporal_transformer_blocks\.", "a video model"),
        (r"^edm_(?:mean|std)$", "Playground v2.5, which needs another sampler"),
        (r"^edm_vpred\.", "CosXL or another model that needs the EDM sampler"),
        (r"^(?:model\.)?(?:layers|transformer\.h|transformer\.blocks)\.0\.", "a language model"),
    )
)

QUANTISED = (
    (r"(?:^|\.)scaled_fp8$|\.(?:scale_weight|weight_scale(?:_2)?|comfy_quant)$", "scaled fp8"),
    (r"\.quant_state\.|\.(?:absmax|quant_map|SCB|qweight|qzeros|wscales)$", "4 or 8 bits"),
)
"""Names of the scales without which quantised weights mean nothing, and how that is called."""

UNUSED = re.compile(
    r"model_ema\.|(?:.*\.)?(?:position_ids|logit_scale|spiece_model)$"
    r"|(?:first_stage_model\.)?loss\.|vision_model\.|visual(?:_projection)?\."
    r"|(?:betas|alphas_cumprod|sqrt_|log_one_minus|posterior_|lvlb_weights|logvar|denoiser\.)"
    r"|(?:v_pred|ztsnr|global_step|scale_factor)$"
)
"""Beginnings of names of which no picture depends: averages of training, tables, markers."""
