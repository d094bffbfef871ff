"""What peft's configuration says of a LoRA's strength: beside the file, or in its metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attn.errors import ModelError
from attn.files.disk import is_file
from attn.files.names import SAFETENSORS
from attn.files.outside import unread
from attn.lora.names import DENOISER, TOWERS

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
"""What peft's `save_pretrained` writes into a folder."""
LARGEST = 2**22
"""Longest believable configuration, in bytes."""
KINDS = {"LORA": "lora_alpha", "LOHA": "alpha", "LOKR": "alpha", "IA3": ""}
"""Peft's kinds that are read, each with the field of its alpha; empty where it has none."""


@dataclass(frozen=True)
class Adapter:
    """What peft's own configuration says of one tower.

    Attributes:
        alpha: of all modules but those in `alphas`; None where the kind has none.
        alphas: by a regular expression for a module's path.
        rank: of all modules but those in `ranks`; None where it is not said.
        ranks: by a regular expression for a module's path.
        kind: peft's name of it, one of `KINDS`.
        is_rank_stabilised: whether the scale is alpha / sqrt(rank).
        is_dora: whether magnitudes are trained.
        obstacle: what it asks for that is not followed, in words; empty if nothing.
    """

    alpha: float | None
    alphas: Mapping[str, float] = field(default_factory=dict)
    rank: float | None = None
    ranks: Mapping[str, float] = field(default_factory=dict)
    kind: str = "LORA"
    is_rank_stabilised: bool = False
    is_dora: bool = False
    obstacle: str = ""

    def alpha_of(self, path: str) -> float | None:
        """Return the alpha of the module with this path."""
        return self.alphas.get(_key(self.alphas, path), self.alpha)

    def rank_of(self, path: str) -> float | None:
        """Return the rank of the module with this path, which its factors may not show."""
        return self.ranks.get(_key(self.ranks, path), self.rank)


def _key(keys: Iterable[str], path: str) -> str:
    """Return the first key that matches a path; empty if none does.

    Source: peft's `get_pattern_key`.
    """
    return next((key for key in keys if re.match(rf"(.*\.)?({key})$", path)), "")


_PREFIXES = {
    DENOISER: ("unet.", "transformer."),
    "text_encoder": ("text_encoder.",),
    "text_encoder_2": ("text_encoder_2.",),
    "text_encoder_3": ("text_encoder_3.",),
}


def written_inside(decoded: Mapping[str, Any]) -> dict[str, Adapter]:
    """Return the configurations that diffusers writes beside peft's tensors, by tower.

    Source: `lora_adapter_metadata`, a JSON object with the fields of peft's LoraConfig, each
    behind the name of its component; a file of one component has them without it.

    Raises:
        ModelError: a key of `alpha_pattern` is no regular expression that can be followed.
    """
    config = decoded.get("lora_adapter_metadata")
    if not isinstance(config, dict):
        return {}
    adapters: dict[str, Adapter] = {}
    for tower, prefixes in _PREFIXES.items():
        for prefix in (*prefixes, ""):
            adapter = _adapter(config, prefix)
            if adapter is not None:
                adapters.setdefault(tower, adapter)
    return adapters


def config_beside(file: Path) -> Path | None:
    """Return peft's configuration in the folder of a file, if it is that file's.

    It belongs to the file that peft names, or, where that is not there, to the only one.
    """
    config = file.parent / CONFIG
    if not is_file(config):
        return None
    others = [path for path in file.parent.glob(f"*{SAFETENSORS}") if path.name != file.name]
    is_weights = file.name == WEIGHTS or not others
    return config if is_weights else None


def written_beside(config: Path) -> dict[str, Adapter]:
    """Return the settings of a configuration beside a file, for any tower of the file.

    Raises:
        ModelError: it cannot be read, or has no alpha.
    """
    try:
        data = config.read_bytes() if config.stat().st_size <= LARGEST else b""
        decoded = json.loads(data)
    except OSError as exc:
        raise ModelError(unread(config, exc)) from exc
    except (ValueError, RecursionError) as exc:
        raise ModelError(f"{config} is no JSON, so the LoRA's strength is unknown") from exc
    fields = decoded if isinstance(decoded, dict) else {}
    kind = fields.get("peft_type", "LORA")
    if kind not in KINDS:
        listed = ", ".join(KINDS)
        raise ModelError(f"{config} is of peft's kind {ascii(kind)[:40]}; read are {listed}")
    adapter = _adapter(fields, "", kind)
    if adapter is None:
        raise ModelError(
            f"{config} has no number for {KINDS[kind]}, so the LoRA's strength is unknown; write "
            "it there, or take the file away from this folder for alpha = rank"
        )
    return dict.fromkeys(TOWERS, adapter)


def _adapter(config: Mapping[str, Any], prefix: str, kind: str = "LORA") -> Adapter | None:
    alpha: Any = config.get(f"{prefix}{KINDS[kind]}") if KINDS[kind] else 1
    if not _is_number(alpha):
        return None
    rank: Any = config.get(f"{prefix}r")
    alphas, ranks = (_numbers(config, prefix, f"{name}_pattern") for name in ("alpha", "rank"))
    is_stabilised, is_dora = (_switch(config, prefix, f"use_{it}") for it in ("rslora", "dora"))
    return Adapter(
        alpha=float(alpha) if KINDS[kind] else None,
        alphas=alphas,
        rank=float(rank) if _is_number(rank) and rank > 0 else None,
        ranks=ranks,
        kind=kind,
        is_rank_stabilised=is_stabilised,
        is_dora=is_dora,
        obstacle=_obstacle(config, prefix),
    )


def _numbers(config: Mapping[str, Any], prefix: str, name: str) -> dict[str, float]:
    """Return the numbers of single modules, by regular expression.

    Raises:
        ModelError: something in their place is none.
    """
    pattern = config.get(f"{prefix}{name}") or {}
    if not isinstance(pattern, dict) or not all(map(_is_number, pattern.values())):
        raise _unclear(name, pattern, "a number for each pattern")
    return {_checked(name, key): float(value) for key, value in pattern.items()}


def _switch(config: Mapping[str, Any], prefix: str, name: str) -> bool:
    """Return a setting that is on or off; off where there is none.

    Raises:
        ModelError: it is neither.
    """
    value = config.get(f"{prefix}{name}")
    if value not in (None, True, False):
        raise _unclear(name, value, "true or false")
    return bool(value)


def _unclear(name: str, value: Any, expected: str) -> ModelError:
    return ModelError(
        f"{name} of peft's configuration is {ascii(value)[:60]}; expected {expected}, so the "
        "LoRA's strength is unknown"
    )


_NESTED = re.compile(r"[+*}]\)[+*{]")  # takes time without bound
_LONGEST = 500  # characters of a pattern


def _checked(name: str, pattern: str) -> str:
    """Return a regular expression that can be followed.

    Raises:
        ModelError: it cannot.
    """
    try:
        re.compile(pattern)
        is_bounded = len(pattern) <= _LONGEST and not _NESTED.search(pattern)
    except (re.error, RecursionError, OverflowError):
        is_bounded = False
    if not is_bounded:
        raise ModelError(
            f"{name} of peft's configuration has {ascii(pattern)[:60]}, which is no regular "
            "expression that is followed, so the LoRA's strength is unknown"
        )
    return pattern


_CHANGING_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways to begin training that take something out of the base's weights first."""
_FOLLOWED_BY_NOTHING = ("layer_replication", "use_qalora", "use_bdlora", "alora_invocation_tokens")


def _obstacle(config: Mapping[str, Any], prefix: str) -> str:
    """Describe the parts of a configuration that go beyond W + scale · up · down."""
    start = str(config.get(f"{prefix}init_lora_weights"))
    if start.lower().startswith(_CHANGING_BASE):
        return f"init_lora_weights {ascii(start)[:40]}, which changes the base's weights first"
    fields = (name for name in _FOLLOWED_BY_NOTHING if config.get(f"{prefix}{name}"))
    return next(fields, "")


_LARGEST_ALPHA = 1e30  # JSON's integers may be too large for a float


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < _LARGEST_ALPHA
