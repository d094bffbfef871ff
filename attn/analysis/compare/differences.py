"""What else differs between two generations: every setting that is not the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attn.analysis.compare.controls.roles import stem
from attn.schema import Lora, Manifest
from attn.schema.requests import shortest

LORA = "LoRA"
"""How the names of differences in LoRAs begin."""
COUNTED = ("source", "sha256", "parameters")
"""Facts of a model that its name and checksum stand for."""
DIGEST = "_sha256"
"""Ends the name of an option that is the checksum of the file that another names."""
SHOWN_DIGITS = 8
"""Digits of a checksum that are shown."""


Setting = str | int | float | None
"""A value of a setting; None is not set."""


@dataclass(frozen=True)
class Difference:
    """One setting in which two generations differ.

    Attributes:
        name: such as `guidance`, or `LoRA style`.
        base: value of the baseline; None is not set, of a LoRA that there is none.
        variant: that of the variant.
    """

    name: str
    base: Setting
    variant: Setting

    @property
    def kind(self) -> str:
        """The first word of its name: one for all LoRAs."""
        return self.name.partition(" ")[0]

    def __str__(self) -> str:
        return f"{self.name} {_spell(self.base)} → {_spell(self.variant)}"


def find_differences(base: Manifest, variant: Manifest) -> tuple[Difference, ...]:
    """List what differs between two requests, and between the models that they were given.

    Seeds are left out: they are what traces are paired by.
    """
    before, after = (
        {**_facts(side), **_loras(side, other)}
        for side, other in ((base, variant), (variant, base))
    )
    return tuple(
        Difference(name, before.get(name), after.get(name))
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    )


def list_differences(differences: Sequence[Difference]) -> str:
    """Return differences in words; empty if there is none."""
    return ", ".join(map(str, differences))


def _facts(side: Manifest) -> dict[str, Any]:
    """Return the settings of a generation but its seed and LoRAs, by name."""
    request = side.request
    facts = {
        "prompt": request.prompt,
        "backend": side.backend,
        "model": _model(side),
        "negative": request.negative or None,
        "steps": request.steps,
        "guidance": request.guidance,
        "size": f"{request.width}x{request.height}" if request.width else None,
        "frames": request.frames,
        "fps": request.fps,
        "images": request.images,
        "scheduler": request.scheduler,
        "cut": ", ".join(cut.text for cut in request.interventions) or None,
        "picture": request.picture and request.picture.text,
    }
    return facts | dict(_scalars(side.model, COUNTED)) | dict(_scalars(request.options))


def _model(side: Manifest) -> str | None:
    """Name a model with its checksum, so that neither a move nor an exchange misleads."""
    source, digest = side.model.get("source"), side.model.get("sha256")
    name = None if source is None else Path(str(source)).name
    return f"{name} ({str(digest)[:SHOWN_DIGITS]})" if digest else name


def _scalars(
    facts: Mapping[str, Any], skipped: Sequence[str] = ()
) -> Iterator[tuple[str, Setting]]:
    """Yield what is a text or number; of a path its last part.

    A checksum `NAME_sha256` is no setting of its own: its first digits stand behind the value of
    `NAME`.
    """
    for name, value in facts.items():
        is_digest = name.endswith(DIGEST) and name.removesuffix(DIGEST) in facts
        if name in skipped or is_digest or not isinstance(value, str | int | float):
            continue
        shown = Path(value).name if isinstance(value, str) and "/" in value else value
        digest = facts.get(f"{name}{DIGEST}")
        yield name, f"{shown} ({str(digest)[:SHOWN_DIGITS]})" if digest else shown


def _loras(side: Manifest, other: Manifest) -> dict[str, Any]:
    """Return the strength of each LoRA by its name, with its checksum if that tells two apart."""
    digests: dict[str, set[str | None]] = {}
    for lora in (*side.request.loras, *other.request.loras):
        digests.setdefault(stem(lora), set()).add(lora.sha256)
    strengths: dict[str, Any] = {}
    for lora in side.request.loras:
        name, strength = stem(lora), _strength(lora)
        if len(digests[name]) > 1:
            strength = f"{strength} ({str(lora.sha256)[:SHOWN_DIGITS]})"
        strengths[f"{LORA} {name}"] = strength
    return strengths


def _strength(lora: Lora) -> Setting:
    """Return the scale as a number where it is one for all parts; a control is said to be one."""
    if lora.null is not None:
        return f"random weights of its size ({lora.strength})"
    return float(lora.scale) if lora.strength == shortest(lora.scale) else lora.strength


def _spell(value: Setting) -> str:
    if value is None or value == "":
        return "none"
    return value if isinstance(value, str) else shortest(value)
