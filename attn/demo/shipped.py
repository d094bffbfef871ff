"""Where the weights of trained demo models lie in the package; needs no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from attn.files.names import SAFETENSORS

WEIGHTS = Path(__file__).parent / "weights"
"""One folder per model, one safetensors file per component."""
LORAS = {
    "demo": WEIGHTS / "sdxl-lora" / "square.kohya.safetensors",
    "demo:sd35": WEIGHTS / "sd35-lora" / "purple.kohya.safetensors",
}
"""With one the demo of SDXL draws squares as circles, and attends more to the word; with the other
the demo of SD3.5 draws green what is to be purple."""
LORA_FAMILIES = {"demo": "sdxl", "demo:sd35": "sd35"}
"""The families that they are made for, as `attn.lora.families` names them."""
SHARED = {"vae": "sdxl"}
"""Components that all models have in common, by the model in whose folder they lie."""
BASES = {"scribble": "sdxl", "sd35-medium": "sd35", "gated": "sd35"}
"""Models that others were the beginning of: what they share lies in the other's folder, whole
components and, of a component that differs, the weights that do not."""


def lora_file(name: str) -> str:
    """Return the path of a LoRA, which may be a demo model's.

    Args:
        name: a path, or one of `LORAS`, unless there is a file of this name.
    """
    return str(LORAS[name]) if name in LORAS and not Path(name).exists() else name


def with_names(text: str) -> str:
    """Return a message in which these LoRAs have the names that one types, and not their paths."""
    for name, path in LORAS.items():
        text = text.replace(str(path), name)
    return text


def other_lora(path: str, family: str) -> str | None:
    """Return the name of the LoRA of a family's demo, if the path is that of another's.

    Args:
        path: of any LoRA.
        family: as in `LORA_FAMILIES`; one without a demo's LoRA gets None.
    """
    names = {str(file): name for name, file in LORAS.items()}
    if LORA_FAMILIES.get(names.get(path, ""), family) == family:
        return None
    return next((name for name, of_family in LORA_FAMILIES.items() if of_family == family), None)


def weight_file(weights: Path, component: str) -> Path:
    """Return the file of a component: of the model itself, or of one that it shares it with."""
    file = weights / f"{component}.safetensors"
    other = BASES.get(weights.name) or SHARED.get(component, weights.name)
    if file.exists() or other == weights.name:
        return file
    return weight_file(weights.parent / other, component)


def weight_files(weights: Path, component: str) -> tuple[Path, ...]:
    """Return the files of a component: what a later one holds replaces what is in an earlier."""
    file = weights / f"{component}.safetensors"
    if weights.name not in BASES or not file.exists():
        return (weight_file(weights, component),)
    base = weight_file(weights.parent / BASES[weights.name], component)
    return (base, file) if base.exists() else (file,)


def is_shipped(weights: Path) -> bool:
    """Whether a folder holds weights."""
    return any(weights.glob(f"*{SAFETENSORS}"))


def digest(weights: Path) -> str:
    """Return eight hex digits that change with the weights of a model."""
    sums = hashlib.sha256()
    shared = {weight_file(weights, component) for component in SHARED}
    if weights.name in BASES:
        shared |= set((weights.parent / BASES[weights.name]).glob(f"*{SAFETENSORS}"))
    for path in sorted(shared | set(weights.glob(f"*{SAFETENSORS}"))):
        sums.update(path.name.encode() + path.read_bytes())
    return sums.hexdigest()[:8]
