"""Where the weights of trained demo models lie in the package; needs no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""One folder per model, one safetensors file per component."""
SHARED = {"vae": "sdxl"}
"""Components that all models have in common, by the model in whose folder they lie."""
BASES = {"scribble": "sdxl"}
"""Models that are others with something added: what they lack lies in the other's folder."""


def weight_file(weights: Path, component: str) -> Path:
    """Return the file of a component: a model's own, or else the shared one beside its folder."""
    own = weights / f"{component}.safetensors"
    other = BASES.get(weights.name) or SHARED.get(component)
    return weights.parent / other / own.name if other and not own.exists() else own


def is_shipped(weights: Path) -> bool:
    """Whether a folder holds weights."""
    return any(weights.glob("*.safetensors"))


def digest(weights: Path) -> str:
    """Return eight hex digits that change with the weights of a model."""
    sums = hashlib.sha256()
    shared = {weight_file(weights, component) for component in SHARED}
    if weights.name in BASES:
        shared |= set((weights.parent / BASES[weights.name]).glob("*.safetensors"))
    for path in sorted(shared | set(weights.glob("*.safetensors"))):
        sums.update(path.name.encode() + path.read_bytes())
    return sums.hexdigest()[:8]
