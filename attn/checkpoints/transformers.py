"""Recognise transformers by a table: a family is a row of names and of published sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from attn.checkpoints.inventory import PREFIXES, Checkpoint, Tensors, beside
from attn.checkpoints.layouts import FLUX, PIXART, Naming

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
        family: backend that takes them.
        title: of one that has no published size, after "this is".
        layout: their names; tensors that are parts of another's rows tell nothing here.
        authors: what the authors' layout calls itself in reports.
        marks: of diffusers' layout, tensors that are there in every model, and in no other's.
        published: the first that fits is the model's.
    """

    family: str
    title: str
    layout: Naming
    authors: str
    marks: tuple[str, ...]
    published: tuple[Published, ...]

    def probe(self, tensors: Tensors) -> Checkpoint | None:
        """Recognise a file; None for another's."""
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
            return Checkpoint(self.family, self.title, layout, parts)
        family = None if model.advice else self.family
        return Checkpoint(family, model.title, layout, parts, model.config, advice=model.advice)

    def _fits(self, model: Published, tensors: Tensors, prefix: str | None) -> bool:
        return all(
            shape == (tensors[there].shape if there in tensors else None)
            for name, shape in model.shapes.items()
            for there in (self._there(name, prefix),)
        )

    def _there(self, name: str, prefix: str | None) -> str:
        """Return the name of a tensor in a file; without a prefix it is diffusers' layout."""
        return (self.layout.targets(name) or (name,))[0] if prefix is None else prefix + name


_FLUX_WIDTH = 3072
_OTHER_INPUT = "its transformer takes more than noise; give a model that draws from text alone"


def _flux(channels: int, *, is_guided: bool) -> Shapes:
    square = (_FLUX_WIDTH, _FLUX_WIDTH)
    return {
        "img_in.weight": (_FLUX_WIDTH, channels),
        "double_blocks.18.img_attn.proj.weight": square,
        "double_blocks.19.img_attn.proj.weight": None,
        "single_blocks.37.linear2.weight": (_FLUX_WIDTH, 5 * _FLUX_WIDTH),
        "single_blocks.38.linear2.weight": None,
        "guidance_in.in_layer.weight": (_FLUX_WIDTH, 256) if is_guided else None,
    }


_PIXART: Shapes = {
    "x_embedder.proj.weight": (1152, 4, 2, 2),
    "blocks.27.mlp.fc2.weight": (1152, 4608),
    "blocks.28.mlp.fc2.weight": None,
    "y_embedder.y_proj.fc1.weight": (1152, 4096),
    "csize_embedder.mlp.0.weight": None,
}
_SIZES: Shapes = {"csize_embedder.mlp.0.weight": (384, 256)}
_ALPHA = "files of it are not read; give the diffusers folder that it was published in"

TRANSFORMERS = (
    Transformer(
        family="flux",
        title="a model like FLUX.1",
        layout=FLUX,
        authors="BFL",
        marks=(
            "single_transformer_blocks.0.proj_mlp.weight",
            "transformer_blocks.0.norm1_context.linear.weight",
            "time_text_embed.text_embedder.linear_1.weight",
        ),
        published=(
            Published("flux-dev", "FLUX.1 dev", _flux(64, is_guided=True)),
            Published("flux-schnell", "FLUX.1 schnell", _flux(64, is_guided=False)),
            Published(None, "FLUX.1 Fill", _flux(384, is_guided=True), _OTHER_INPUT),
            Published(None, "FLUX.1 Canny or Depth", _flux(128, is_guided=True), _OTHER_INPUT),
        ),
    ),
    Transformer(
        family="pixart",
        title="a model like PixArt-Σ",
        layout=PIXART,
        authors="PixArt",
        marks=(
            "adaln_single.linear.weight",
            "caption_projection.linear_1.weight",
            "pos_embed.proj.weight",
            "transformer_blocks.0.attn2.to_q.weight",
        ),
        published=(
            Published("pixart-sigma", "PixArt-Σ", _PIXART),
            Published(None, "PixArt-α", {**_PIXART, **_SIZES}, _ALPHA),
        ),
    ),
)


def transformer(tensors: Tensors) -> Checkpoint | None:
    """Recognise a transformer of one of `TRANSFORMERS`."""
    return next(filter(None, (kind.probe(tensors) for kind in TRANSFORMERS)), None)
