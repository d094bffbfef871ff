"""Recognise transformers by tables of names and published sizes, which their families give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from attn.checkpoints.families import families
from attn.checkpoints.inventory import PREFIXES, Checkpoint, Tensors, beside
from attn.checkpoints.layouts import Naming

Shapes = Mapping[str, tuple[int, ...] | None]
"""Shapes of tensors by the authors' names; None for one that is not there."""


class Published(NamedTuple):
    """A published model: its configuration, title and what tells it from others.

    `advice` is for a model that no backend opens by itself: why, and what to do.
    """

    config: str | None
    title: str
    shapes: Shapes
    advice: str | None = None


@dataclass(frozen=True)
class Transformer:
    """The transformers of one family.

    Attributes:
        title: of one that has no published size, after "this is".
        layout: their names; tensors that are parts of another's rows tell nothing here.
        authors: what the authors' layout calls itself in reports.
        marks: of diffusers' layout, tensors that are there in every model, and in no other's.
        published: the first that fits is the model's.
    """

    title: str
    layout: Naming
    authors: str
    marks: tuple[str, ...]
    published: tuple[Published, ...]

    def probe(self, tensors: Tensors) -> Checkpoint | None:
        """Recognise a file, without its family's name; None for another's."""
        for prefix in PREFIXES:
            if all(prefix + mark in tensors for mark in self.layout.marks):
                parts = {"dit": prefix} | beside(tensors)
                return self._checkpoint(self.authors, parts, tensors, prefix)
        if all(name in tensors for name in self.marks):
            return self._checkpoint("diffusers", {"dit": ""}, tensors, None)
        return None

    def _checkpoint(
        self, layout: str, parts: dict[str, str], tensors: Tensors, prefix: str | None
    ) -> Checkpoint:
        model = next((each for each in self.published if self._fits(each, tensors, prefix)), None)
        if model is None:
            return Checkpoint(None, self.title, layout, parts)
        return Checkpoint(None, model.title, layout, parts, model.config, advice=model.advice)

    def _fits(self, model: Published, tensors: Tensors, prefix: str | None) -> bool:
        return all(
            shape == (tensors[there].shape if there in tensors else None)
            for name, shape in model.shapes.items()
            for there in (self._there(name, prefix),)
        )

    def _there(self, name: str, prefix: str | None) -> str:
        """Return the name of a tensor in a file; without a prefix it is diffusers' layout."""
        return (self.layout.targets(name) or (name,))[0] if prefix is None else prefix + name


def transformer(tensors: Tensors) -> Checkpoint | None:
    """Recognise a transformer of a family that gives a table."""
    for name, family in families().items():
        checkpoint = family.transformer.probe(tensors) if family.transformer else None
        if checkpoint:
            return checkpoint if checkpoint.advice else replace(checkpoint, family=name)
    return None
