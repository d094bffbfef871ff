"""The transformers of diffusers that draw images, and what each needs beside the rules."""

import torch

from benchmarks.networks.diffusers_models import (
    CLASSIC,
    COLUMNS,
    CROSS,
    HEAD,
    HEADS,
    LATENT,
    LENGTH,
    PATCHES,
    PICTURE,
    POOLED,
    ROWS,
    SANA,
    WIDTH,
    WORD,
    WORDS,
    Tiny,
    grid,
    image,
    noise,
    tokens,
)

FOUR = {"axes_dims_rope": (2, 2, 4, 4)}
FOUR_IDS = {"img_ids": grid(ROWS, COLUMNS, width=4), "txt_ids": torch.zeros(WORDS, 4)}

IMAGES: dict[str, Tiny] = {
    "AuraFlowTransformer2DModel": Tiny(
        image(),
        {"sample_size": 10}
        | {"num_single_dit_layers": 2, "caption_projection_dim": WIDTH}
        | {"pos_embed_max_size": 143},
    ),
    "BriaFibo2Transformer2DModel": Tiny(
        image(),
        {"injection_layer_ids": (1,), "min_num_gist_tokens": 2, "max_num_gist_tokens": 5}
        | {"perceiver_num_layers": 1, "gist_step": 3, "gist_min_text_len": 3}
        | {"gist_max_text_len": 13},
        {"encoder_hidden_states": noise(2, 2, WORDS, WORD)},
    ),
    "BriaFiboTransformer2DModel": Tiny(
        tokens(),
        {"text_encoder_dim": POOLED},
        {"text_encoder_layers": [noise(2, WORDS, POOLED)] * 4, "guidance": ...},
    ),
    "BriaTransformer2DModel": Tiny(tokens(), {}, {"guidance": ...}),
    "ChromaTransformer2DModel": Tiny(
        tokens(),
        {"approximator_num_channels": 8, "approximator_hidden_dim": 19, "approximator_layers": 1},
    ),
    "CogView3PlusTransformer2DModel": Tiny(
        image(), {"condition_dim": 4, "pos_embed_max_size": 11, "sample_size": 10}
    ),
    "CogView4Transformer2DModel": Tiny(
        image(), {"condition_dim": 4, "rope_axes_dim": (13, 7), "sample_size": 10}
    ),
    "DiTTransformer2DModel": Tiny(
        noise(2, LATENT, 6, 6),  # it takes squares only
        {"sample_size": 6, "num_embeds_ada_norm": 11, "out_channels": 10},
        {"class_labels": torch.tensor([3, 5])},
    ),
    "DreamLiteTransformer2DModel": Tiny(
        noise(2, WIDTH, ROWS, COLUMNS),
        CLASSIC | {"cross_attention_dim": WORD, "num_kv_heads": ...},
    ),
    "ErnieImageTransformer2DModel": Tiny(
        noise(2, LATENT, ROWS, COLUMNS),
        {},
        {"text_bth": noise(2, WORDS, WORD), "text_lens": torch.tensor([WORDS, 5])},
    ),
    "Flux2Transformer2DModel": Tiny(tokens(), FOUR | {"timestep_guidance_channels": 14}, FOUR_IDS),
    "Flux3Transformer2DModel": Tiny(
        tokens(),
        FOUR | {"cond_in_channels": PICTURE, "timestep_channels": 14},
        FOUR_IDS
        | {"image_cond_hidden_states": noise(2, 13, PICTURE), "image_cond_ids": torch.zeros(13, 4)},
    ),
    "FluxTransformer2DModel": Tiny(tokens(), {}, {"guidance": ...}),
    "GlmImageTransformer2DModel": Tiny(
        image(),
        {"condition_dim": 4, "prior_vq_quantizer_codebook_size": 53},
        {"prior_token_id": torch.arange(2 * PATCHES).reshape(2, -1)}
        | {"prior_token_drop": torch.zeros(2, PATCHES).bool()},
    ),
    "HiDreamImageTransformer2DModel": Tiny(
        image(),
        {"patch_size": 2, "caption_channels": (WORD, PICTURE), "text_emb_dim": POOLED}
        | {"llama_layers": (0, 1, 1, 0), "max_resolution": (10, 6)},
        {"encoder_hidden_states_t5": noise(2, WORDS, WORD)}
        | {"encoder_hidden_states_llama3": noise(2, 2, 5, PICTURE)},
    ),
    "HunyuanDiT2DModel": Tiny(
        image(),
        {"sample_size": 10, "patch_size": 2, "num_layers": 4, "cross_attention_dim": WORD}
        | {"cross_attention_dim_t5": 16, "text_len": WORDS, "text_len_t5": 5},
        {"text_embedding_mask": torch.ones(2, WORDS), "text_embedding_mask_t5": torch.ones(2, 5)}
        | {"encoder_hidden_states_t5": noise(2, 5, 16), "style": torch.zeros(2).long()}
        | {"image_meta_size": torch.tensor([[80.0, 48, 80, 48, 0, 0]] * 2)}
        | {"image_rotary_emb": (noise(PATCHES, HEAD).cos(), noise(PATCHES, HEAD).sin())},
    ),
    "HunyuanImageTransformer2DModel": Tiny(
        noise(2, LATENT, ROWS, COLUMNS),
        {"rope_axes_dim": (4, 8), "text_embed_2_dim": POOLED},
        {"encoder_hidden_states_2": noise(2, 5, POOLED)}
        | {"encoder_attention_mask_2": torch.ones(2, 5).bool(), "timestep_r": ...},
    ),
    "Ideogram4Transformer2DModel": Tiny(
        tokens(LENGTH),
        {"adaln_dim": POOLED, "mrope_section": (2, 2, 2)},
        {"encoder_hidden_states": noise(2, LENGTH, WORD)}
        | {"position_ids": torch.arange(LENGTH)[:, None].expand(2, -1, 3)}
        | {"segment_ids": torch.ones(2, LENGTH).long()}
        | {"indicator": torch.tensor([[3] * WORDS + [2] * PATCHES] * 2)},
    ),
    "Krea2Transformer2DModel": Tiny(
        tokens(),
        {"num_text_layers": 2, "text_hidden_dim": 20, "text_num_attention_heads": 5}
        | {"text_num_key_value_heads": 5, "text_intermediate_size": 23}
        | {"num_layerwise_text_blocks": 1, "num_refiner_text_blocks": 1},
        {"encoder_hidden_states": noise(2, WORDS, 2, 20), "position_ids": grid(LENGTH)},
    ),
    "LongCatImageTransformer2DModel": Tiny(tokens()),
    "Lumina2Transformer2DModel": Tiny(image(), {"sample_size": 10}),
    "LuminaNextDiT2DModel": Tiny(
        image(),
        {"sample_size": 10} | {"cross_attention_dim": WORD},
        {"encoder_mask": torch.ones(2, WORDS), "cross_attention_kwargs": {}}
        | {"image_rotary_emb": torch.ones(13, 7, HEAD // 2, dtype=torch.complex64)},
    ),
    "NucleusMoEImageTransformer2DModel": Tiny(
        tokens(),
        {
            "num_layers": 5,
            "mlp_ratio": 6,
            "num_experts": 3,
            "moe_intermediate_dim": 19,
            "capacity_factors": 2.0,
        },
    ),
    "OmniGenTransformer2DModel": Tiny(
        image(),
        {"vocab_size": 53, "pad_token_id": 0, "pos_embed_max_size": 13}
        | {"rope_scaling": {"short_factor": [1.0] * 6, "long_factor": [1.0] * 6}}
        | {"max_position_embeddings": 61, "original_max_position_embeddings": 31},
        {"input_ids": torch.arange(14).reshape(2, 7), "input_img_latents": []}
        | {"input_image_sizes": {}, "attention_mask": torch.ones(2, LENGTH + 1, LENGTH + 1)}
        | {"position_ids": torch.arange(LENGTH + 1).expand(2, -1)},
    ),
    "OvisImageTransformer2DModel": Tiny(tokens()),
    "PRXTransformer2DModel": Tiny(image(), {"axes_dim": (4, 8)}),
    "PixArtTransformer2DModel": Tiny(
        image(),
        CROSS
        | {"sample_size": 10}
        | {"out_channels": 2 * LATENT, "use_additional_conditions": False},
        {"added_cond_kwargs": {"resolution": None, "aspect_ratio": None}},
    ),
    "PriorTransformer": Tiny(
        noise(2, WORD),
        {"embedding_dim": WORD, "num_embeddings": WORDS},
        {"proj_embedding": noise(2, WORD), "attention_mask": torch.ones(2, WORDS).bool()},
    ),
    "QwenImage21Transformer2DModel": Tiny(
        tokens(12 * 10),
        {},
        {"img_shapes": [[(1, 12, 10)]] * 2}
        | {"img_mask": torch.tensor([[False] * WORDS + [True] * 30] * 2)},
    ),
    "QwenImageTransformer2DModel": Tiny(tokens(), {"out_channels": 2}, {"guidance": ...}),
    "SD3Transformer2DModel": Tiny(
        image(),
        {"sample_size": 10}
        | {
            "caption_projection_dim": WIDTH,
            "pos_embed_max_size": 13,
            "dual_attention_layers": (1,),
        },
    ),
    "SanaTransformer2DModel": Tiny(image(), SANA, {"guidance": ...}),
    "Transformer2DModel": Tiny(
        noise(2, WIDTH, ROWS, COLUMNS),
        CLASSIC | {"cross_attention_dim": WORD},
    ),
    "ZImageTransformer2DModel": Tiny(
        None,
        {"n_kv_heads": HEADS},
        {"x": [*noise(2, LATENT, 1, 10, 6)], "cap_feats": [noise(WORDS, WORD), noise(5, WORD)]},
    ),
}
