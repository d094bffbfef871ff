"""A folder with a tiny Qwen2-VL, and a processor of it that needs no torchvision."""

import torch
from transformers import BatchFeature, Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from attn.demo import language

PATCH, MERGED = 4, 2
MARKS = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")
TEMPLATE = (
    "{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}{% if part.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|eot_id|>{% endfor %}"
    "<|start_header_id|>assistant<|end_header_id|>"
)
EYES = {"depth": 2, "embed_dim": 24, "num_heads": 3, "patch_size": PATCH, "hidden_size": 60}
TEXT = {"hidden_size": 60, "intermediate_size": 20, "num_hidden_layers": 2}
TEXT |= {"num_attention_heads": 6, "num_key_value_heads": 3}
TURNS = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 2, 2]}


class Processor:
    """Qwen2VLProcessor, whose class asks for a processor of films, and that for torchvision.

    Args:
        reader: the tokenizer.
        changes: what it returns otherwise.
    """

    image_token = "<|image_pad|>"

    def __init__(self, reader, **changes):
        self.tokenizer = reader
        self.image_token_id = reader.convert_tokens_to_ids(self.image_token)
        sizes = {"patch_size": PATCH, "merge_size": MERGED, "temporal_patch_size": 2}
        self.image_processor = Qwen2VLImageProcessorPil(**sizes, min_pixels=64, max_pixels=64 * 40)
        self._changes = changes

    def __call__(self, images, text, return_tensors):
        seen = self.image_processor(images, return_tensors=return_tensors)
        count = int(seen["image_grid_thw"].prod()) // MERGED**2
        text = [each.replace(self.image_token, self.image_token * count) for each in text]
        read = self.tokenizer(text, return_tensors=return_tensors)
        return BatchFeature({**read, **seen, **self._changes})


def save(folder):
    """Save the model, with random weights, and its tokenizer; return the latter."""
    reader = language.tokenizer()
    reader.add_special_tokens({"additional_special_tokens": list(MARKS)})
    reader.chat_template = TEMPLATE
    ids = dict(zip(MARKS, reader.convert_tokens_to_ids(list(MARKS)), strict=True))
    config = Qwen2VLConfig(
        text_config=TEXT
        | {"vocab_size": len(reader), "rope_parameters": TURNS, "bos_token_id": None}
        | {"eos_token_id": reader.eos_token_id},
        vision_config=EYES | {"spatial_merge_size": MERGED, "temporal_patch_size": 2},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    torch.manual_seed(5)
    Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    reader.save_pretrained(folder)
    return reader
