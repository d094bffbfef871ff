"""Check that the parts of a model go together, from their configurations alone.

Parts may come from several models, and libraries put together whatever they are given: what does
not fit then ends in the middle of a generation, or, worse, in a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attn.backends.loading.family import CLIP_G, CLIP_L, Family, Joint
from attn.checkpoints.folders import CONFIG, read_object
from attn.checkpoints.inventory import CONFIGS
from attn.errors import ModelError


def require_agreement(models: Mapping[str, Any], family: Family) -> None:
    """Refuse parts that do not go together.

    Args:
        models: by component, with `config`; weights play no role.
        family: whose they are.

    Raises:
        ModelError: names both sides and their widths.
    """
    _require_numbers(models, family)
    for joint in family.joints:
        if models.keys() >= {joint.part, *joint.givers}:
            _require_width(models, joint, family)
    clips = [part.component for part in (CLIP_L, CLIP_G) if part in family.parts]
    widths = [models[name].config.hidden_size for name in clips if name in models]
    if widths != sorted(widths):
        raise ModelError(
            f"the text encoder CLIP-L is wider than CLIP-G ({widths[0]} and {widths[1]}): "
            "clip_l and clip_g are swapped"
        )


POSITIONS = "max_position_embeddings"
"""The field of a text encoder that says how many tokens it reads, if that is bounded."""


def require_tokens(parts: Mapping[str, Any], root: Path, family: Family) -> None:
    """Refuse tokenizers whose tokens their text encoder cannot read.

    Args:
        parts: of the pipeline, by name; weights play no role.
        root: folder of the model, for messages.
        family: whose they are.

    Raises:
        ModelError: nothing to pad with, more tokens than vectors, or than positions.
    """
    for part in family.parts:
        tokenizer, encoder = parts.get(part.tokenizer or ""), parts.get(part.component)
        if tokenizer is None or encoder is None:
            continue
        path, reader = root / str(part.tokenizer), part.name
        if tokenizer.pad_token_id is None:
            raise ModelError(f"{path}: pad_token is missing; expected one of its tokens")
        config = _of_text(encoder)
        last, vectors = max(tokenizer.get_vocab().values()), config.vocab_size
        if last >= vectors:
            raise ModelError(
                f"{path} has a token {last}; {reader} has vectors for {vectors}: it is of another "
                "model, or damaged"
            )
        length = part.tokens or tokenizer.model_max_length
        room = getattr(config, POSITIONS, None)
        if room is not None and not (isinstance(length, int) and 1 < length <= room):
            raise ModelError(
                f"{path}: model_max_length is {length}; {reader} reads at most {room} tokens"
            )


def _of_text(model: Any) -> Any:
    """Return the configuration of what reads text, in a model that may see, too."""
    return getattr(model.config, "text_config", model.config)


NUMBERS = {"unet": ("sample_size",), "transformer": ("sample_size",), "vae": ("scaling_factor",)}
"""What drawing needs of a configuration, beyond what building needs."""


def _require_numbers(models: Mapping[str, Any], family: Family) -> None:
    for part, fields in NUMBERS.items():
        for field in fields if part in models else ():
            if field not in models[part].config:
                continue
            value = models[part].config[field]
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                raise ModelError(
                    f"{CONFIG} of {family.title_of(part)}: {field} is {value!a}; "
                    "expected a number above 0"
                )


def require_class(folder: Path, cls: type[Any], part: str) -> None:
    """Refuse the folder of a part of another kind, as far as its configuration says what it is.

    Raises:
        ModelError: names both kinds.
    """
    config = read_object(folder / CONFIG)
    expected = getattr(getattr(cls, "config_class", None), "model_type", cls.__name__)
    actual = config.get("_class_name", config.get("model_type", expected))
    if actual != expected and "text_config" not in config:
        raise ModelError(f"{folder} holds {actual}; {part} must be {expected}")


INPAINTING = "-inpainting"
"""Ending of the names of configurations that differ from others in the UNet alone."""


def require_scaling(folder: Path, family: Family) -> None:
    """Refuse the VAE of another published model, which scales latents otherwise.

    Raises:
        ModelError: names the models whose VAE it may be.
    """
    if family.config is None:
        return
    factors = {
        config.name: read_object(config / "vae" / CONFIG).get("scaling_factor")
        for config in sorted(CONFIGS.iterdir())
        if not config.name.endswith(INPAINTING)
    }
    scaling, expected = read_object(folder / CONFIG).get("scaling_factor"), factors[family.config]
    owners = [name for name, factor in factors.items() if factor == scaling]
    if owners and scaling != expected:
        models = f"{', '.join(owners)} {'do' if len(owners) > 1 else 'does'}"
        raise ModelError(
            f"vae={folder}: it scales latents by {scaling:g}, as {models}; {family.name} expects "
            f"{expected:g}"
        )


def _require_width(models: Mapping[str, Any], joint: Joint, family: Family) -> None:
    expected = getattr(models[joint.part].config, joint.field, None)
    widths = [getattr(_of_text(models[name]), joint.width, None) for name in joint.givers]
    numeric = [width for width in widths if isinstance(width, int)]
    numeric = [joint.times * width for width in numeric]
    if isinstance(expected, int) and len(numeric) == len(widths) and sum(numeric) != expected:
        reader = family.title_of(joint.part)
        givers = " + ".join(family.title_of(name) for name in joint.givers)
        sizes = " + ".join(map(str, numeric))
        raise ModelError(
            f"the parts do not go together: {reader} has {joint.field} {expected}, but "
            f"{givers} {'have' if len(numeric) > 1 else 'has'} {joint.width} {sizes}; one of them "
            "is of another model"
        )
