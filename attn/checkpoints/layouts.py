"""Where a transformer's modules are in its authors' layout and in diffusers', as data.

One table serves the loading of checkpoint files and the placing of LoRAs. Converters of the library
know the published widths only, and none of the way back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

BLOCK = "#"
"""Stands for the number of a block in the paths of a layout."""
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


@dataclass(frozen=True)
class Naming:
    """The names of one kind of transformer.

    Attributes:
        marks: tensors that together only the authors' layout has, with block 0.
        modules: by the authors' path, the modules of diffusers whose rows follow one another in it.
        swapped: authors' paths whose rows have their two halves in the other order.
        parameters: authors' names of parameters, where they differ.
        aliases: further names that LoRAs have for the modules of diffusers.
        tensors: by the authors' name, tensors of diffusers that are no module's weight or bias.
        unused: tensors in files of the authors that the models of diffusers compute.
    """

    marks: tuple[str, ...]
    modules: Mapping[str, tuple[str, ...]]
    swapped: frozenset[str] = frozenset()
    parameters: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tensors: Mapping[str, str] = field(default_factory=dict)
    unused: frozenset[str] = frozenset()

    def is_of(self, names: Mapping[str, object]) -> bool:
        """Whether these tensors are named as the authors name them."""
        return all(mark in names for mark in self.marks)

    def targets(self, name: str) -> tuple[str, ...] | None:
        """Return diffusers' tensors that make up one of the authors'; None for no such tensor."""
        pattern, number = numbered(name)
        if pattern in self.tensors:
            return (self.tensors[pattern].replace(BLOCK, number),)
        stem, _, parameter = name.rpartition(".")
        pattern, number = numbered(stem)
        paths = self.modules.get(pattern)
        if paths is None:
            return None
        ending = self.parameters.get(parameter, parameter)
        return tuple(f"{path.replace(BLOCK, number)}.{ending}" for path in paths)

    def is_swapped(self, name: str) -> bool:
        """Whether the halves of a tensor of the authors have the other order."""
        return name.rpartition(".")[0] in self.swapped


def numbered(path: str) -> tuple[str, str]:
    """Return a path with `BLOCK` for the number of its block, and that number, if it has one."""
    match = _NUMBER.search(path)
    if match is None:
        return path, ""
    return f"{path[: match.start()]}{BLOCK}{path[match.end() :]}", match[0]


def under(
    prefix: str, ours: str, inside: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Return modules in a block by their authors' paths, those of diffusers below `ours`."""
    return {
        f"{prefix}.{name}": tuple(f"{ours}.{path}" for path in paths)
        for name, paths in inside.items()
    }
