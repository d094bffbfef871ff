"""The transformers of diffusers for video, sound and proteins, and what each needs more."""

import torch
from diffusers.models.transformers.transformer_wan_animate_2 import WanAnimate2KVCache

from benchmarks.networks.diffusers_models import (
    AXES,
    CLASSIC,
    COLUMNS,
    CROSS,
    FRAMES,
    HEAD,
    HEADS,
    LATENT,
    LENGTH,
    PATCHES,
    PICTURE,
    POOLED,
    ROWS,
    SANA,
    TIMES,
    WIDTH,
    WORD,
    WORDS,
    Tiny,
    film,
    grid,
    noise,
    tokens,
    video,
)

SOURCE = {"image_dim": PICTURE, "added_kv_proj_dim": WIDTH}
PICTURES = {"encoder_hidden_states_image": noise(2, 5, PICTURE)}
PICTURES |= {"encoder_hidden_states": noise(2, 512, WORD)}  # a number that the classes fix
FRAME_TIMES = {"timestep": torch.tensor([[0.25, 0.75]] * 2), "r_timestep": torch.full((2, 2), 0.1)}
COG = {"attention_head_dim": 16, "sample_width": 2 * COLUMNS, "sample_height": 2 * ROWS}
COG |= {"sample_frames": 4 * FRAMES - 3, "max_text_seq_length": WORDS}
SOUND = {"audio_in_channels": LATENT, "audio_out_channels": LATENT, "audio_attention_head_dim": 8}
SOUND |= {"audio_num_attention_heads": HEADS, "audio_cross_attention_dim": 8 * HEADS}

REFERENCE = WanAnimate2KVCache(2)
"""What a first pass over a reference leaves to the pass that generates."""
for _layer in REFERENCE.layer_caches:
    _layer.store(noise(2, FRAMES * PATCHES, HEADS, HEAD), noise(2, FRAMES * PATCHES, HEADS, HEAD))

OTHERS: dict[str, Tiny] = {
    "AceStepTransformer1DModel": Tiny(
        tokens(23),
        {"in_channels": LATENT + POOLED, "audio_acoustic_hidden_dim": LATENT}
        | {"encoder_hidden_size": WORD, "sliding_window": 3},
        {"context_latents": tokens(23, POOLED)},
    ),
    "AllegroTransformer3DModel": Tiny(
        video(),
        CROSS | {"sample_height": 2 * ROWS, "sample_width": 2 * COLUMNS, "sample_frames": FRAMES},
        {"encoder_hidden_states": noise(2, 1, WORDS, WORD)}
        | {"attention_mask": torch.ones(2, FRAMES, 2 * ROWS, 2 * COLUMNS)}
        | {"encoder_attention_mask": torch.ones(2, WORDS)},
    ),
    "AnyFlowFARTransformer3DModel": Tiny(
        noise(2, FRAMES, LATENT, 4 * ROWS, 4 * COLUMNS),
        {},
        FRAME_TIMES | {"chunk_partition": [1, 1]},
    ),
    "AnyFlowTransformer3DModel": Tiny(film(), {}, FRAME_TIMES),
    "ChronoEditTransformer3DModel": Tiny(video(), SOURCE, PICTURES),
    "CogVideoXTransformer3DModel": Tiny(film(), COG),
    "ConsisIDTransformer3DModel": Tiny(
        film(),
        COG
        | {"is_train_face": True, "cross_attn_interval": 1, "cross_attn_dim_head": HEAD}
        | {"cross_attn_num_heads": HEADS, "LFE_id_dim": POOLED, "LFE_vit_dim": PICTURE}
        | {"LFE_depth": 2, "LFE_dim_head": 5, "LFE_num_heads": HEADS, "LFE_num_id_token": 2}
        | {"LFE_num_querie": 5, "LFE_output_dim": 32, "LFE_num_scale": 2},
        {"id_cond": noise(2, POOLED), "id_vit_hidden": [noise(2, 3, PICTURE)] * 2},
    ),
    "Cosmos3OmniTransformer": Tiny(
        None,
        {"latent_channel": LATENT, "patch_latent_dim": 4 * LATENT, "vocab_size": 53}
        | {"rope_axes_dim": (1, 2, 3)},
        {"input_ids": torch.arange(3, 3 + WORDS), "text_indexes": torch.arange(WORDS)}
        | {"position_ids": torch.arange(WORDS + 2 * PATCHES).expand(3, -1), "und_len": WORDS}
        | {"sequence_length": WORDS + 2 * PATCHES, "vision_tokens": [video()[:1]]}
        | {"vision_token_shapes": [(FRAMES, ROWS, COLUMNS)]}
        | dict.fromkeys(
            ["vision_sequence_indexes", "vision_mse_loss_indexes"],
            torch.arange(WORDS, WORDS + 2 * PATCHES),
        )
        | {"vision_timesteps": torch.full((2 * PATCHES,), 250.0)}
        | {"vision_noisy_frame_indexes": [torch.arange(FRAMES)]},
    ),
    "CosmosTransformer3DModel": Tiny(
        video(),
        {"max_size": (2, 10, 6), "adaln_lora_dim": 7, "concat_padding_mask": False},
        {"fps": 24},
    ),
    "EasyAnimateTransformer3DModel": Tiny(
        video(), {"patch_size": 2, "mmdit_layers": 1, "attention_head_dim": 16}
    ),
    "HeliosTransformer3DModel": Tiny(
        video(),
        {"rope_dim": AXES},
        {"indices_hidden_states": torch.tensor([[7, 8]] * 2)}
        | {"indices_latents_history_short": torch.tensor([[6]] * 2)}
        | {"indices_latents_history_mid": torch.tensor([[4, 5]] * 2)}
        | {"indices_latents_history_long": torch.tensor([[0, 1, 2, 3]] * 2)}
        | {"latents_history_short": video(frames=1), "latents_history_mid": video(frames=2)}
        | {"latents_history_long": video(frames=4)},
    ),
    "HunyuanVideo15Transformer3DModel": Tiny(
        noise(2, LATENT, FRAMES, ROWS, COLUMNS),
        {"text_embed_2_dim": POOLED, "image_embed_dim": PICTURE},
        {"encoder_hidden_states_2": noise(2, 5, POOLED), "image_embeds": noise(2, 3, PICTURE)}
        | {"encoder_attention_mask_2": torch.ones(2, 5).bool(), "timestep_r": ...},
    ),
    "HunyuanVideoFramepackTransformer3DModel": Tiny(
        video(),
        {"has_image_proj": True, "image_proj_dim": PICTURE, "has_clean_x_embedder": True},
        {"image_embeds": noise(2, 3, PICTURE), "indices_latents": torch.tensor([7, 8])}
        | {"latents_clean": video(frames=1), "indices_latents_clean": torch.tensor([6])}
        | {"latents_history_2x": video(), "indices_latents_history_2x": torch.tensor([4, 5])}
        | {"latents_history_4x": video(frames=4)}
        | {"indices_latents_history_4x": torch.tensor([0, 1, 2, 3])},
    ),
    "HunyuanVideoTransformer3DModel": Tiny(video()),
    "JoyImageEditPlusTransformer3DModel": Tiny(
        noise(2, PATCHES, LATENT, 1, 2, 2),
        {"mlp_width_ratio": 2.0},
        {"shape_list": [[(1, ROWS, COLUMNS)], [(1, 2, COLUMNS), (1, ROWS - 2, COLUMNS)]]},
    ),
    "JoyImageEditTransformer3DModel": Tiny(video(), {"mlp_width_ratio": 2.0}),
    "Kandinsky5Transformer3DModel": Tiny(
        noise(FRAMES, 2 * ROWS, 2 * COLUMNS, LATENT)[None].expand(2, -1, -1, -1, -1),
        {"in_visual_dim": LATENT, "out_visual_dim": LATENT, "in_text_dim": WORD}
        | {"in_text_dim2": POOLED, "time_dim": 14, "ff_dim": 19, "num_text_blocks": 1}
        | {"num_visual_blocks": 2},
        {"visual_rope_pos": [torch.arange(FRAMES), torch.arange(ROWS), torch.arange(COLUMNS)]}
        | {"text_rope_pos": torch.arange(WORDS)},
    ),
    "Kandinsky6Transformer3DModel": Tiny(
        noise(2, FRAMES, 2 * ROWS, 2 * COLUMNS, 2 * LATENT + 1),
        {"in_visual_dim": LATENT, "out_visual_dim": LATENT, "in_text_dim": WORD}
        | {"in_text_dim2": POOLED, "time_dim": 14, "ff_dim": 19, "num_text_blocks": 1}
        | {"num_visual_blocks": 2, "in_audio_dim": PICTURE, "out_audio_dim": PICTURE},
        {"audio_hidden_states": noise(2, 13, PICTURE)},
    ),
    "Kandinsky6SRTransformer3DModel": Tiny(
        noise(2, 1, 8, 16, 2 * LATENT + 1),  # it attends in tiles of 8 × 8
        {"in_visual_dim": LATENT, "out_visual_dim": LATENT, "time_dim": 14, "ff_dim": 19}
        | {"num_visual_blocks": 2},
    ),
    "LTX2VideoTransformer3DModel": Tiny(
        tokens(FRAMES * PATCHES),
        CROSS | SOUND,
        {"audio_hidden_states": tokens(13), "audio_encoder_hidden_states": noise(2, 5, WORD)}
        | {"audio_num_frames": 13, "timestep": torch.tensor([250.0, 750.0])},
    ),
    "LTXVideoTransformer3DModel": Tiny(tokens(FRAMES * PATCHES), CROSS),
    "LatteTransformer3DModel": Tiny(
        video(),
        CROSS
        | {"sample_size": 10, "patch_size": 2}
        | {"norm_type": "ada_norm_single", "video_length": FRAMES}
        | {"out_channels": 2 * LATENT},
        {"encoder_attention_mask": ...},
    ),
    "LongCatAudioDiTTransformer": Tiny(
        tokens(13),
        {"dit_dim": WIDTH, "dit_depth": 2, "dit_heads": HEADS, "dit_text_dim": WORD}
        | {"latent_dim": LATENT, "ff_mult": 2.0},
        {"latent_cond": tokens(13)},
    ),
    "MiniMaxH3Transformer3DModel": Tiny(
        noise(1, PATCHES, 4 * LATENT),
        {"audio_in_channels": PICTURE, "time_embed_hidden_dim": 23, "rope_freq_dim": 2},
        {"audio_hidden_states": noise(1, 13, PICTURE)}
        | {"encoder_hidden_states": noise(1, WORDS, WORD), "timestep": torch.tensor([0.25, 0.75])}
        | {"timestep_indices": torch.tensor([0] * WORDS + [1] * (PATCHES + 13))}
        | {"token_tags": torch.tensor([0] * WORDS + [1] * PATCHES + [2] * 13)}
        | {"position_ids": grid(LENGTH + 13), "text_indices": torch.arange(WORDS)}
        | {"video_indices": torch.arange(WORDS, LENGTH)}
        | {"audio_indices": torch.arange(LENGTH, LENGTH + 13)},
    ),
    "MiniMaxMusic3Transformer1DModel": Tiny(
        noise(2, LATENT, 13),
        {"condition_dim": WORD, "rotary_dim": 4, "fourier_embedding_dim": 14},
        {"encoder_hidden_states": noise(2, 13, WORD)},
    ),
    "MochiTransformer3DModel": Tiny(
        video(),
        {"max_sequence_length": WORDS, "text_embed_dim": 24},
        {"encoder_hidden_states": noise(2, WORDS, 24)},
    ),
    "MotifVideoTransformer3DModel": Tiny(
        video(),
        {"enable_text_cross_attention_dual": True, "enable_text_cross_attention_single": True}
        | {"num_decoder_layers": 1},
    ),
    "RFD4ProteinaTransformer": Tiny(
        None,
        {"nlayers": 2, "token_dim": WIDTH, "nheads": HEADS, "dim_cond": 14, "pair_repr_dim": 19}
        | {"latent_dim": LATENT, "token_type_emb_dim": 7, "cath_emb_dim": 11, "t_emb_dim": 14}
        | {"tri_mult_c": 23, "feats_seq": ("xt_bb_ca", "xt_local_latents", "token_type")}
        | {"feats_pair_repr": ("xt_bb_ca_pair_dists",)},
        {"bb_ca": noise(2, 13, 3), "local_latents": tokens(13), "bb_ca_time": TIMES}
        | {"local_latents_time": TIMES, "padding_mask": torch.ones(2, 13)}
        | {"token_type": torch.zeros(2, 13).long()}
        | {
            "conditioning": {
                "is_in_context_conditioning": torch.zeros(2, 13),
                "supports_local_latent": torch.ones(2, 13),
            }
        },
    ),
    "SanaVideoTransformer3DModel": Tiny(video(), SANA, {"guidance": ...}),
    "SanaWMLTX2RefinerTransformer3DModel": Tiny(
        tokens(FRAMES * PATCHES),
        CROSS | SOUND,
        {"timestep": noise(2, FRAMES * PATCHES)}
        | {"video_rotary_emb": (noise(FRAMES * PATCHES, WIDTH).cos(), noise(30, WIDTH).sin())},
    ),
    "SanaWMTransformer3DModel": Tiny(
        noise(2, LATENT, FRAMES, ROWS, COLUMNS),
        {"softmax_every_n": 2, "linear_head_dim": HEAD, "use_chunk_plucker_post_attn": False},
        {
            "timestep": torch.tensor([[[250, 750]]] * 2),
            "encoder_hidden_states": noise(2, 1, WORDS, WORD),
        },
    ),
    "SkyReelsV2Transformer3DModel": Tiny(
        video(),
        SOURCE | {"inject_sample_info": True},
        PICTURES | {"fps": torch.tensor([0, 1])},
    ),
    "StableAudio3DiTModel": Tiny(
        noise(2, LATENT, 13),
        {"io_channels": LATENT, "cond_token_dim": WORD, "global_cond_dim": POOLED}
        | {"local_add_cond_dim": 2, "num_memory_tokens": 3, "timestep_features_dim": 14},
        {"global_hidden_states": noise(2, POOLED), "local_add_cond": noise(2, 2, 13)},
    ),
    "StableAudioDiTModel": Tiny(
        noise(2, LATENT, 13),
        {"sample_size": 13, "num_key_value_attention_heads": 1, "cross_attention_dim": HEAD}
        | {"time_proj_dim": 14, "global_states_input_dim": POOLED}
        | {"cross_attention_input_dim": WORD},
        {"global_hidden_states": noise(2, 1, POOLED)}
        | {"rotary_embedding": (noise(14, 6).cos(), noise(14, 6).sin())},
    ),
    "TransformerTemporalModel": Tiny(
        noise(6, WIDTH, ROWS, COLUMNS),
        CLASSIC,
        {"num_frames": 3, "encoder_hidden_states": ...},
    ),
    "WanAnimate2Transformer3DModel": Tiny(
        None,
        {"in_dim": 2 * LATENT, "out_dim": LATENT, "text_len": WORDS, "use_img_emb": False},
        {"hidden_states": [*video()], "condition_latents": [*video()], "kv_cache": REFERENCE}
        | {"encoder_hidden_states": [*noise(2, WORDS, WORD)], "kv_cache_mode": "cached"}
        | {"seq_len": FRAMES * PATCHES, "origin_len": 4, "origin_area": [80, 48]}
        | {"reference_grid_sizes": torch.tensor([[FRAMES, ROWS, COLUMNS]] * 2)},
    ),
    "WanAnimateTransformer3DModel": Tiny(
        video(14, 2),
        SOURCE
        | {"in_channels": 14, "latent_channels": LATENT, "inject_face_latents_blocks": 1}
        | {"motion_encoder_channel_sizes": {"4": 8, "8": 8, "16": 8}, "motion_encoder_size": 16}
        | {"motion_style_dim": 7, "motion_dim": 5, "motion_encoder_dim": 13}
        | {"face_encoder_hidden_dim": 12, "face_encoder_num_heads": 2},
        PICTURES
        | {"pose_hidden_states": video(frames=1), "face_pixel_values": noise(2, 3, 4, 16, 16)},
    ),
    "WanTransformer3DModel": Tiny(video(), SOURCE, PICTURES),
    "WanVACETransformer3DModel": Tiny(
        video(),
        SOURCE | {"vace_layers": [0, 1], "vace_in_channels": POOLED},
        PICTURES | {"control_hidden_states": video(POOLED)},
    ),
}
