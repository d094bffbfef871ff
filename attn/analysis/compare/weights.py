"""What a LoRA changes in the weights of each layer, against what changes in its attention.

Definitions, for one attention layer:

- norm      |scale| · ‖ΔW‖ of the layer: root of the sum of squares over its modules (query, key,
            value, out and added ones) that the LoRA changes; 0 if it changes none of them. See
            docs/lora.md.
- relative  the same divided by ‖W‖ of these modules; empty without the base model's weights.
- change    mean over words of |change of the word's mass in this layer|; probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attn.analysis.compare.changes import changes, has_layers, mass
from attn.analysis.compare.pairs import Pair
from attn.analysis.numbers import mean_present
from attn.analysis.tables import Table, make_table
from attn.analysis.words.maps.similarity import correlation
from attn.errors import AnalysisError
from attn.lora.file import Group, LoraFile, Module
from attn.lora.names import underscored
from attn.schema import Layer, kohya_name, name_layers


@dataclass(frozen=True)
class WeightsAgainstAttention:
    """One row per layer, and how the two columns go together.

    Attributes:
        table: `layer, path, modules, norm, relative, change`.
        correlation: Pearson's r of norm and change over layers, -1 to 1; NaN if one is constant.
        unmatched: names of modules of the LoRA that belong to no compared layer.
    """

    table: Table
    correlation: float
    unmatched: tuple[str, ...]


def against_weights(
    lora: LoraFile, pairs: Sequence[Pair], words: Sequence[str] | None = None
) -> WeightsAgainstAttention:
    """Hold the weights that a LoRA changes against the attention that changed with it.

    Args:
        lora: what acted: see `attn.lora.base.fit.applied`; of a file as it was read, modules that
            do not fit would count too, and the scale would be 1.
        pairs: of the variant with this LoRA.
        words: only these; None is all.

    Raises:
        AnalysisError: the traces have different layers, or none of their layers is in the file.
    """
    if not has_layers(pairs):
        raise AnalysisError("weights are held against layers, and the traces have different ones")
    layers = pairs[0].layers
    owned = [_modules(lora, layer) for layer in layers]
    if not any(owned):
        raise AnalysisError(_no_layer(lora, layers))
    groups = [
        Group(layer.tower, layer.path, modules)
        for layer, modules in zip(layers, owned, strict=True)
    ]
    norms = np.array([group.norm or 0.0 for group in groups])
    sizes = np.stack([np.abs(entry.change.change) for entry in changes(pairs, mass, words)])
    change = mean_present(sizes, 0)
    relative = [np.nan if group.relative is None else group.relative for group in groups]
    table = make_table(
        {
            "layer": np.array([layer.index for layer in layers]),
            "layer_name": np.array(list(name_layers(layers).values()), object),
            "kohya": np.array([kohya_name(layer.path) for layer in layers], object),
            "path": np.array([layer.path for layer in layers], object),
            "modules": np.array([len(modules) for modules in owned]),
            "norm": norms,
            "relative": np.array(relative, np.float64),
            "change": change,
        }
    )
    taken = {module.name for modules in owned for module in modules}
    rest = tuple(module.name for module in lora.modules if module.name not in taken)
    return WeightsAgainstAttention(table, float(correlation(norms, change)), rest)


def _no_layer(lora: LoraFile, layers: Sequence[Layer]) -> str:
    """Say that a LoRA touches no attention, as far as its modules were found in the model."""
    start = f"{lora.path} changes none of the compared layers ({layers[0].path}, …)"
    if all(module.base_path for module in lora.modules):
        targets = ", ".join(dict.fromkeys(module.target for module in lora.modules))
        return f"{start}, but {targets}: where attention changes, it is because what it reads does"
    return f"{start}, or names them in another layout: read it with its base model"


def _modules(lora: LoraFile, layer: Layer) -> tuple[Module, ...]:
    """Return the modules inside an attention layer."""
    start = f"{underscored(layer.path)}_"
    return tuple(
        module
        for module in lora.modules
        if module.tower == layer.tower
        and any(
            underscored(path).startswith(start) for path in (module.path, module.base_path or "")
        )
    )
