"""What sessions that read a drawing share, with a ControlNet or with tokens."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np

from attn import demo
from attn.backends.families.scribble import drawing as drawings
from attn.backends.families.scribble.options import (
    AUTO,
    NONE,
    OF_CONTROL,
    OF_TOKENS,
    ScribbleOptions,
    effective_options,
)
from attn.backends.families.scribble.strokes import Strokes
from attn.backends.families.unet import UNetSession
from attn.demo import rendering, scenes
from attn.errors import RequestError
from attn.schema import Request


class DrawnSession(UNetSession):
    """What sessions that read a drawing share."""

    shows_pictures = False  # the drawing is what it is given
    foreign: ClassVar[tuple[str, ...]]
    """Options of the other kind of model, which would have no effect."""

    def drawing(self, request: Request) -> Strokes:
        """Return the strokes (row, column) that one request is given, as large as its picture.

        Raises:
            RequestError: see `describe_drawing`.
        """
        options = effective_options(self.options, request)
        width, height = request.width or 0, request.height or 0
        if options.sketch == NONE:
            return np.zeros((height, width), np.bool_)
        if options.sketch == AUTO:
            return _outline(request.prompt, request.seed, width, height)
        return drawings.fit_strokes(_read(options), width, height, options.fit)

    def describe_drawing(self, request: Request) -> str:
        """Return what the user should know of a request's drawing, which is not made for that.

        Raises:
            RequestError: there is no drawing, or none that could be used.
        """
        options = effective_options(self.options, request)
        if options.sketch == NONE:
            return ""
        if options.sketch == AUTO:
            self._check_outline(request)
            return "the sketch is the prompt's outline, drawn by attn"
        sketch = _read(options)
        size = request.width or 0, request.height or 0
        _, remark = drawings.fit_size(sketch, *size, options.fit)
        return "\n".join(filter(None, (drawings.describe(sketch), remark)))

    def complete(self, request: Request) -> Request:
        """Also read the drawing; its hash joins the options, those of other models leave them.

        See `Session.complete`.
        """
        request = super().complete(request)
        options = effective_options(self.options, request)
        self._refuse_foreign(request)
        options_here = {
            name: value for name, value in request.options.items() if name not in self.foreign
        }
        request = replace(request, options=options_here)
        self.describe_drawing(request)  # one that cannot be used is refused
        if options.sketch in (AUTO, NONE):
            return request
        sha256 = _read(options).sha256
        return replace(request, options={**request.options, "sketch_sha256": sha256})

    def remarks(self, request: Request, completed: Request) -> tuple[str, ...]:
        """Tell also of the drawing; see `Session.remarks`."""
        drawn = self.describe_drawing(completed).split("\n")
        return (*super().remarks(request, completed), *filter(None, drawn))

    def _refuse_foreign(self, request: Request) -> None:
        usual = asdict(type(self.options)())
        options = {**asdict(self.options), **request.options}
        foreign = [name for name in self.foreign if options[name] != usual[name]]
        if foreign:
            kinds = {OF_CONTROL: "a ControlNet", OF_TOKENS: "sketch tokens (ScribbleDiffusion)"}
            raise RequestError(
                f"{', '.join(foreign)}: only for models with {kinds[self.foreign]}; "
                f"{self.info.source} has none"
            )

    def _check_outline(self, request: Request) -> None:
        if not self.info.source.startswith("demo"):
            raise RequestError(
                "no sketch: give one with --sketch FILE, or --sketch none for the model without one"
            )
        _content(request.prompt)


def _read(options: ScribbleOptions) -> drawings.Sketch:
    return drawings.read_sketch(options.sketch, options.ground, edges=options.edges == "canny")


def _content(prompt: str) -> scenes.Content:
    """Return what a caption of the shapes world names.

    Raises:
        RequestError: it is none.
    """
    try:
        return scenes.read(prompt)
    except KeyError:
        raise RequestError(
            f"no sketch for {prompt!r}: attn draws outlines only of captions of the shapes world, "
            f"such as {demo.example_prompt('scribble')!r}; give a --sketch FILE"
        ) from None


@lru_cache(maxsize=64)
def _outline(prompt: str, seed: int, width: int, height: int) -> Strokes:
    """Draw the outlines of a scene that fits a caption of the shapes world, in the middle."""
    side = min(width, height)
    strokes = np.zeros((height, width), np.bool_)
    top, left = (height - side) // 2, (width - side) // 2
    scene = scenes.arrange(_content(prompt), np.random.default_rng(seed))
    strokes[top : top + side, left : left + side] = rendering.outlines(scene, side)
    return strokes
