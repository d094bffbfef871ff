"""What a checkpoint file is, from the names and shapes in its header: no torch, milliseconds.

Structure decides family and layout, so that small models with the structure of a published one
count as its family; exact sizes decide which of the shipped configurations fits.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

from attn.checkpoints.denoisers import mmdit, unet
from attn.checkpoints.headers import Header
from attn.checkpoints.inventory import (
    CONFIGS,
    Checkpoint,
    Members,
    Tensors,
    language_encoder,
    members,
    parameters,
    without_denoiser,
)
from attn.checkpoints.other_models import ADDONS, EMBEDDING, LANGUAGE, OTHERS, QUANTISED, FileKind
from attn.checkpoints.transformers import transformer

__all__ = [
    "CONFIGS",
    "Checkpoint",
    "Members",
    "members",
    "parameters",
    "probe",
]


def probe(header: Header) -> Checkpoint:
    """Identify a file; unknown contents have an answer too."""
    tensors = header.tensors
    outline = _outline(tensors)
    checkpoint = (
        _other_model(ADDONS, outline)
        or _embedding(tensors)
        or mmdit(tensors)
        or transformer(tensors)
        or language_encoder(tensors)
        or _other_model((LANGUAGE, *OTHERS), outline)
        or unet(tensors)
        or without_denoiser(tensors)
        or _unknown(tensors)
    )
    return _quantised(_predicted(checkpoint, header), outline)


_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def _outline(tensors: Tensors) -> str:
    """Return the names, one per line, each number as 0 and each line once."""
    lines = _NUMBER.sub("0", "\n".join(tensors)).split("\n")
    return "\n".join(dict.fromkeys(lines))


def _other_model(kinds: tuple[FileKind, ...], outline: str) -> Checkpoint | None:
    for kind in kinds:
        if re.search(kind.pattern, outline, re.MULTILINE):
            return Checkpoint(None, kind.title, "unknown", advice=kind.advice)
    return None


def _embedding(tensors: Tensors) -> Checkpoint | None:
    """Recognise textual inversion: a few vectors, named by encoder or by the new word."""
    named = tensors.keys() <= {"clip_l", "clip_g", "t5xxl"}
    alone = len(tensors) == 1 and not any("." in name for name in tensors)
    flat = all(len(info.shape) in (1, 2) for info in tensors.values())
    if not tensors or not flat or not (named or alone):
        return None
    return Checkpoint(None, EMBEDDING.title, "unknown", advice=EMBEDDING.advice)


def _unknown(tensors: Tensors) -> Checkpoint:
    if not tensors:
        advice = "it holds no weights; download the model again"
        return Checkpoint(None, "a safetensors file without tensors", "unknown", advice=advice)
    names = ", ".join(ascii(name[:60])[1:-1] for name in list(tensors)[:3])
    advice = f"its names belong to no model that is known here; they begin with {names}"
    return Checkpoint(None, "no known model", "unknown", advice=advice)


_PREDICTIONS: dict[str, Literal["v", "epsilon"]] = {
    "v": "v",
    "vpred": "v",
    "v_pred": "v",
    "v_prediction": "v",
    "v-prediction": "v",
    "eps": "epsilon",
    "epsilon": "epsilon",
}


def _predicted(checkpoint: Checkpoint, header: Header) -> Checkpoint:
    """Add what the file says of its training; marker tensors win over metadata."""
    if "unet" not in checkpoint.parts:
        return checkpoint
    said = header.metadata.get("modelspec.prediction_type", "").strip().lower()
    prediction = _PREDICTIONS.get(said)
    if "v_pred" in header.tensors or _is_on(header, "ss_v_parameterization"):
        prediction = "v"
    zero = "ztsnr" in header.tensors or _is_on(header, "ss_zero_terminal_snr")
    return replace(checkpoint, prediction=prediction, zero_snr=zero)


def _is_on(header: Header, name: str) -> bool:
    return header.metadata.get(name, "").strip().lower() == "true"


def _quantised(checkpoint: Checkpoint, outline: str) -> Checkpoint:
    """Refuse weights that are numbers times scales beside them."""
    for pattern, how in QUANTISED:
        if checkpoint.parts and re.search(pattern, outline, re.MULTILINE):
            advice = f"its weights are quantised ({how}); give the file in float16 or bfloat16"
            return replace(
                checkpoint, family=None, title=f"{checkpoint.title}, in {how}", advice=advice
            )
    return checkpoint
