"""A folder with a tiny language model that reads pictures, its processor and its chat template."""

import torch
from transformers import (
    CLIPImageProcessor,
    Dinov2Config,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from attn.demo import language

ROWS, COLUMNS, PATCH = 3, 5, 8
TEMPLATE = (
    "{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|eot_id|>{% endfor %}"
    "<|start_header_id|>assistant<|end_header_id|>"
)
EYES = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2}
TEXT = {"hidden_size": 60, "intermediate_size": 20, "num_hidden_layers": 2}
TEXT |= {"num_attention_heads": 6, "num_key_value_heads": 3}


def save(folder, **changes):
    """Save the model, with random weights; `changes` are of the processor."""
    reader = language.tokenizer()
    reader.add_special_tokens({"additional_special_tokens": ["<image>"]})
    size = {"height": ROWS * PATCH, "width": COLUMNS * PATCH}
    eyes = CLIPImageProcessor(size=size, crop_size=size, do_center_crop=False)
    settings = {"patch_size": PATCH, "num_additional_image_tokens": 1} | changes
    processor = LlavaProcessor(
        eyes, reader, vision_feature_select_strategy="default", chat_template=TEMPLATE, **settings
    )
    end = reader.eos_token_id
    text = LlamaConfig(vocab_size=len(reader), bos_token_id=None, eos_token_id=end, **TEXT)
    config = LlavaConfig(
        vision_config=Dinov2Config(image_size=24, patch_size=PATCH, **EYES),
        text_config=text,
        image_token_index=reader.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(5)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
