"""What a file says of itself: texts that trainers write into the header, decoded."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from attn.wording import cut

MOST_TAGS = 12
"""So many of the words of the training captions are shown."""

LONGEST = 300
"""Characters of a value that is shown; the whole one is in the JSON."""


def decode(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the texts by name; those that hold a JSON object or list are read as such."""
    return {name: _decoded(text) for name, text in metadata.items()}


def _decoded(text: str) -> Any:
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
    except (ValueError, RecursionError):
        return text


def _finite(text: str) -> float | None:
    """Return a number that JSON can hold again."""
    number = float(text)
    return number if math.isfinite(number) else None


_SHOWN: dict[str, tuple[str, ...]] = {
    "title": ("modelspec.title", "ss_output_name"),
    "author": ("modelspec.author",),
    "description": ("modelspec.description", "ss_training_comment"),
    "licence": ("modelspec.license",),
    "trigger phrase": ("modelspec.trigger_phrase",),
    "base model": ("ss_sd_model_name", "ss_base_model_version", "modelspec.architecture"),
    "prediction": ("modelspec.prediction_type",),
    "network": ("ss_network_module",),
    "dimension": ("ss_network_dim",),
    "alpha": ("ss_network_alpha",),
    "network arguments": ("ss_network_args",),
    "steps": ("ss_steps", "ss_max_train_steps"),
    "epochs": ("ss_epoch", "ss_num_epochs"),
    "training images": ("ss_num_train_images",),
    "resolution": ("modelspec.resolution", "ss_resolution"),
    "batch size": ("ss_total_batch_size", "ss_batch_size_per_device"),
    "learning rate": ("ss_learning_rate",),
    "denoiser's rate": ("ss_unet_lr",),
    "text encoders' rate": ("ss_text_encoder_lr",),
    "schedule": ("ss_lr_scheduler",),
    "optimizer": ("ss_optimizer",),
    "precision": ("ss_mixed_precision",),
    "clip skip": ("ss_clip_skip",),
    "noise offset": ("ss_noise_offset",),
    "min SNR gamma": ("ss_min_snr_gamma",),
    "trained": ("modelspec.date", "ss_training_finished_at", "ss_training_started_at"),
}
"""What is shown under which name: the first of these fields that says something."""

_EMPTY = ("", "None", "null", "0", "0.0", "{}", "[]")


def highlights(decoded: Mapping[str, Any]) -> dict[str, str]:
    """Summarise the training metadata for a reader, as texts by label."""
    summary = {}
    for label, names in _SHOWN.items():
        texts = [_text(name, decoded[name]) for name in names if name in decoded]
        said = [text for text in texts if text not in _EMPTY]
        if said:
            summary[label] = said[0]
    if _is_true(decoded.get("ss_v_parameterization")):
        summary.setdefault("prediction", "v")
    tags = frequent_tags(decoded)
    if tags:
        summary["frequent words"] = ", ".join(f"{tag} ({count})" for tag, count in tags)
    return {label: cut(text, LONGEST) for label, text in summary.items()}


def frequent_tags(decoded: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return the most frequent tags of the training captions and how often each was seen."""
    folders = decoded.get("ss_tag_frequency")
    counts: Counter[str] = Counter()
    for tags in folders.values() if isinstance(folders, dict) else ():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if type(count) is int:
                counts[tag.strip()] += count
    return counts.most_common(MOST_TAGS)


def _text(name: str, value: Any) -> str:
    if name.endswith("_at") and isinstance(value, str):
        return _date(value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    return str(value).strip()


def _date(text: str) -> str:
    try:
        return datetime.fromtimestamp(float(text), UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return text


def _is_true(value: object) -> bool:
    return str(value).strip().lower() == "true"
