"""A trace made small enough for one file: means first, then in detail what fits.

In this order: the small measures, the mean of all layers (over all steps, and at each), the mean
over steps of each layer, then layers and heads at evenly spread steps. What is left out is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from attn.explorer.description import describe
from attn.explorer.matrices import BLOCK
from attn.explorer.mean_maps import Maps, Net, StepMeans, mean_of
from attn.explorer.roots import SCALE, to_roots
from attn.explorer.shelf import Shelf, Tensors, packed_size, spread
from attn.schema import Plane
from attn.trace.shapes import is_of_growing
from attn.trace.store import TraceFiles, open_files, shard_file

MEAN = shard_file(None)
MEASURES = ("mass.", "entropy.", "gate.")
"""Small measures of layers that the page shows, beside those of the steps themselves."""
LISTED = 12
"""Steps that are named one by one."""
MEASURES_SHARE = 1 / 3
"""Part of the page that small measures may take."""
SMALLEST = 8
"""Rows and columns below which a grid is not halved."""


@dataclass
class Reduced:
    """What of a trace stands in a page.

    Attributes:
        facts: as `description.describe`, of what is there; `means`, the means of nets; `left_out`.
        files: tensors by file.
    """

    facts: dict[str, Any]
    files: dict[str, Tensors]


def reduce(folder: Path, budget: float) -> Reduced:
    """Return as much of a trace as fits.

    Args:
        folder: of the trace.
        budget: bytes of the page that its tensors may take.

    Raises:
        TraceError: it cannot be read, or is damaged.
    """
    reduction = Reduction(open_files(folder), Shelf(budget))
    reduction.put_measures()
    if reduction.nets:
        reduction.halve()
        reduction.put_means()
        reduction.put_layers()
        reduction.put_heads()
    return Reduced(reduction.finish(), reduction.shelf.files)


def nets_of(facts: dict[str, Any]) -> list[Net]:
    """Return the layers that have a common mean: of words over pictures, and of matrices."""
    grouped: dict[tuple[str, int], dict[int, Plane | None]] = {}
    for layer in facts["layers"]:
        key = (layer["tower"], layer["keyset"])
        grouped.setdefault(key, {})[layer["index"]] = tuple(layer["grid"])
    pictured = [(BLOCK, grids) for grids in grouped.values()]
    matrices = [
        (kind["block"], dict.fromkeys(layer["index"] for layer in kind["layers"]))
        for kind in facts.get("matrices", ())
    ]
    frames = {layer["index"]: layer["frames"] for layer in facts["layers"]}
    return [
        Net(f"mean-{at}", block, grids, frames=frames if block == BLOCK else {})
        for at, (block, grids) in enumerate([*pictured, *matrices])
    ]


@dataclass
class Reduction:
    """One trace on its way into a page."""

    files: TraceFiles
    shelf: Shelf
    left_out: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        shards = self.files.manifest.shards
        self.facts = describe(self.files.manifest)
        self.steps = [shard.file for shard in shards if shard.step is not None]
        self.nets = nets_of(self.facts)
        self.is_growing = is_of_growing(shards)
        self.has_mean = any(shard.step is None for shard in shards)
        self.has_heads = False

    def put_measures(self) -> None:
        """Put the small measures of as many steps as a third of the page holds."""
        most = self.shelf.budget * MEASURES_SHARE
        put = self.shelf.put_spread(self.steps, self._measures, most)
        self._say("Amounts by layer and head", put)

    def halve(self) -> None:
        """Halve the grids until the means fit, where all are of pictures."""
        size = self._mean_size() * (len(self.steps) + 1) + self._layers_size()
        sides = [side for net in self.nets for grid in net.grids.values() for side in grid or (0,)]
        halvings = 0
        while size / 4**halvings > self.shelf.left and min(sides) >> (halvings + 1) >= SMALLEST:
            halvings += 1
        self.nets = [replace(net, halvings=halvings) for net in self.nets]
        if halvings:
            finest = max(net.grid for net in self.nets if net.grid)
            self.left_out.append(
                f"Maps: coarser than captured, {finest[0]} × {finest[1]} cells at most."
            )

    def put_means(self) -> None:
        """Put the means over layers of every step, and the means over steps of every layer."""
        size, sums, put = self._mean_size(), StepMeans(), []
        reserved = size + min(self._layers_size() / 4 ** self.nets[0].halvings, self.shelf.left / 2)
        wanted = int((self.shelf.left - reserved) / size) if size else len(self.steps)
        chosen = spread(self.steps, min(len(self.steps), wanted))
        for file in self.steps:
            means = self._means(file, sums)
            if means and file in chosen and self.shelf.put(file, _rooted(means)):
                put.append(file)
        if self._stepwise("/map.", "/headmap."):
            self._say("Maps of all layers together, step by step", put)
        self._put_means_over_steps(sums)

    def put_layers(self) -> None:
        """Put the maps of single layers at evenly spread steps."""
        files = self._stepwise("/map.", "/headmap.")
        put = self.shelf.put_spread(files, self._layers)
        if files:
            self._say("Maps of single layers, step by step", put)

    def put_heads(self) -> None:
        """Put the maps of single heads at evenly spread steps."""
        kept = self.files.manifest.kept.level
        files = self._stepwise("/headmap.")
        put = self.shelf.put_spread(files, self._heads)
        self.has_heads = bool(put)
        if put:
            self._say("Maps of single heads", put)
        elif kept in ("heads", "factors"):
            self.left_out.append("Maps of single heads: left out.")

    def finish(self) -> dict[str, Any]:
        """Return the facts of what is there."""
        manifest, facts = self.facts["manifest"], self.facts
        if manifest["kept"]["level"] in ("heads", "factors"):
            manifest["kept"]["level"] = "heads" if self.has_heads else "maps"
        steps = {shard["file"]: shard.get("step") for shard in manifest["shards"]}
        manifest["shards"] = [
            {"file": file, "sha256": "", "bytes": 0, "step": steps.get(file)}
            for file in (*self.steps, MEAN)
            if file in self.shelf.files
        ]
        for net in self.nets:
            for layer in (one for one in facts["layers"] if net.block == BLOCK):
                if layer["index"] in net.grids:
                    layer["grid"] = net.kept_grid(layer["index"])
                    layer["frames"] = 0
        if facts["video"]:
            self.left_out.append("Frames of the video: the mean over them, beside one of them.")
            facts["video"] = None
        facts["means"] = [
            {"index": net.name, "block": net.block, "layers": [*net.grids], "grid": net.grid}
            for net in self.nets
        ]
        return facts | {"left_out": self.left_out, "captured_steps": len(self.steps)}

    def _put_means_over_steps(self, sums: StepMeans) -> None:
        layers: dict[str, Maps] = {}
        for net in self.nets:
            over_steps = self._over_steps(net, sums)
            mean = sums.mean(net.name)
            if over_steps and mean is None:
                mean = net.mean(over_steps)
            if mean is not None:
                self.shelf.put(MEAN, _rooted({f"{net.name}/map.{net.block}": mean}))
            for layer, maps in over_steps.items():
                laid = net.lay(maps, layer, net.kept_grid(layer))
                layers[f"{layer}/map.{net.block}"] = laid
        size = packed_size(_rooted(layers)) / max(1, len(layers))
        count = min(len(layers), int(self.shelf.left / size)) if size else 0
        put = [
            name
            for name in spread(list(layers), count)
            if self.shelf.put(MEAN, _rooted({name: layers[name]}))
        ]
        if len(put) < len(layers):
            self.left_out.append(
                f"Maps of single layers, mean over steps: {len(put)} of {len(layers)} layers."
            )

    def _over_steps(self, net: Net, sums: StepMeans) -> dict[int, Maps]:
        """Return the mean over steps of each layer that has one."""
        if self.has_mean:
            read = {layer: net.read(self.files, MEAN, layer) for layer in net.grids}
        else:
            read = {layer: sums.mean(f"{layer}/{net.block}") for layer in net.grids}
        return {layer: maps for layer, maps in read.items() if maps is not None}

    def _means(self, file: str, sums: StepMeans) -> Tensors:
        """Return the means over layers of a step, and add its maps to the sums."""
        means: Tensors = {}
        for net in self.nets:
            read = {layer: net.read(self.files, file, layer) for layer in net.grids}
            maps = {layer: own for layer, own in read.items() if own is not None}
            if not maps:
                continue
            laid = {layer: net.lay(own, layer, net.grid) for layer, own in maps.items()}
            means[f"{net.name}/map.{net.block}"] = mean_of(list(laid.values()))
            if self.is_growing:
                continue
            for layer, own in maps.items():
                sums.add(net.name, laid[layer])
                if not self.has_mean:
                    sums.add(f"{layer}/{net.block}", own)
        return means

    def _layers(self, file: str) -> Tensors:
        """Return the maps of all layers of a file."""
        tensors: Tensors = {}
        for net in self.nets:
            for layer in net.grids:
                maps = net.read(self.files, file, layer)
                if maps is not None:
                    laid = net.lay(maps, layer, net.kept_grid(layer))
                    tensors[f"{layer}/map.{net.block}"] = laid
        return _rooted(tensors)

    def _heads(self, file: str) -> Tensors:
        """Return the maps of all heads of a file."""
        tensors: Tensors = {}
        for net in self.nets:
            for layer in net.grids:
                name = f"{layer}/headmap.{net.block}"
                maps = net.still(self.files.read(file, name).astype(np.float32), layer)
                tensors[name] = net.lay(maps, layer, net.kept_grid(layer))
        return _rooted(tensors)

    def _measures(self, file: str) -> Tensors:
        tensors: Tensors = {}
        for name in self.files.tensors(file):
            owner, _, measure = name.partition("/")
            if owner == "step":
                tensors[name] = self.files.read(file, name)
            elif measure.startswith(MEASURES):
                tensors[name] = self.files.read(file, name).astype(np.float16)
        return tensors

    def _stepwise(self, *kinds: str) -> list[str]:
        """Return the files of steps if they have such maps."""
        names = self.files.tensors(self.steps[0]) if self.steps else ()
        return self.steps if any(kind in name for name in names for kind in kinds) else []

    def _mean_size(self) -> float:
        """Return about what the means over layers of one step take."""
        files = self._typical()
        return packed_size(_rooted(self._means(files, StepMeans()))) if files else 0

    def _layers_size(self) -> float:
        """Return about what the maps of all layers of one step take."""
        file = self._typical()
        return packed_size(self._layers(file)) if file else 0

    def _typical(self) -> str | None:
        files = [*self._stepwise("/map.", "/headmap."), *([MEAN] if self.has_mean else [])]
        return files[len(files) // 2] if files else None

    def _say(self, what: str, put: Sequence[str]) -> None:
        """Say which steps are there, unless all are."""
        if len(put) == len(self.steps):
            return
        shards = self.files.manifest.shards
        steps = [str(one.step.index) for one in shards if one.step and one.file in put]
        listed = f": {', '.join(steps)}"
        if len(steps) > LISTED:
            listed = f", evenly spread from {steps[0]} to {steps[-1]}"
        which = f"at {len(put)} of {len(self.steps)} steps{listed}" if put else "left out"
        self.left_out.append(f"{what}: {which}.")


def _rooted(tensors: Tensors) -> Tensors:
    """Return maps as roots, each with its scales."""
    rooted: Tensors = {}
    for name, maps in tensors.items():
        rooted[name], rooted[name + SCALE] = to_roots(maps)
    return rooted
