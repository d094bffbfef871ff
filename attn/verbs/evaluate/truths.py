"""What is known of where words are: a function of a picture that gives regions of its words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from attn.errors import AnalysisError
from attn.verbs.evaluate.options import SHAPES

if TYPE_CHECKING:
    from attn.analysis.scores.regions import WordRegion
    from attn.demo.judge import Painted
    from attn.demo.scenes import Content
    from attn.trace.trace import Trace

Truth = Callable[["Trace", int], "Sequence[WordRegion]"]
"""Of a trace and a sample: its words; none if nothing is known of that picture."""


def open_truth(truth: str) -> Truth:
    """Return what is known.

    Raises:
        AnalysisError: there is no such folder, or nothing in it.
    """
    if truth == SHAPES:
        return shapes_truth
    folder = Path(truth)
    if not folder.is_dir():
        raise AnalysisError(
            f"{folder} is no folder of masks; give --truth shapes, or a folder with a PNG per word"
        )
    from attn.verbs.evaluate.annotations import coco_truth, voc_truth
    from attn.verbs.evaluate.masks import masks_truth

    return coco_truth(folder) or voc_truth(folder) or masks_truth(folder)


def shapes_truth(trace: Trace, sample: int) -> list[WordRegion]:
    """Return where the words of a caption of the shapes world are in the picture that was drawn.

    Raises:
        AnalysisError: the prompt is no such caption, or there is no picture.
    """
    from attn.analysis.images import read_image
    from attn.demo import judge, scenes

    prompt = trace.manifest.request.prompt
    try:
        content = scenes.read(prompt)
    except KeyError as error:
        raise AnalysisError(
            f"'{prompt}' is no caption of the shapes world, such as 'a red star left of a blue "
            "circle on a white background'; give a folder of masks as --truth"
        ) from error
    image = read_image(trace, sample)
    if image is None:
        raise AnalysisError(f"{trace.folder} has no picture to look at")
    return find_regions(content, judge.find(image))


def find_regions(content: Content, seen: Painted) -> list[WordRegion]:
    """Pair the words of a caption with what the picture shows of them.

    The truth is what was painted, not what was asked for: a word of an object stands for the
    largest object of its colour, the words of the background for all that is no object.

    Args:
        content: what was asked for.
        seen: what the model painted.

    Returns:
        Nothing for objects whose colour is not there, nothing for another background.
    """
    from attn.analysis.scores.regions import WordRegion
    from attn.demo import judge

    regions = []
    for kind in content.kinds:
        thing = judge.match(kind, seen)
        if thing is not None:
            regions.append(WordRegion(kind.color, "color", thing.mask))
            regions.append(WordRegion(kind.shape, "shape", thing.mask))
    if seen.background == content.background and seen.objects:
        rest = ~np.any([thing.mask for thing in seen.objects], axis=0)
        regions.append(WordRegion(content.background, "background color", rest))
        regions.append(WordRegion("background", "background", rest))
    return regions


def image_names(trace: Trace, sample: int) -> list[str]:
    """Return what a picture may be called in a folder of truth, the first name that fits counts.

    It is the name of the trace's folder, with `-1` for the second sample and so on.
    """
    name = Path(trace.folder or "").resolve().name
    return [f"{name}-{sample}", *([name] if sample == 0 else [])]


def require_shape(trace: Trace, sample: int, shape: tuple[int, ...], where: str) -> None:
    """Refuse a mask of a picture of another shape.

    Args:
        trace: with the picture.
        sample: which.
        shape: rows and columns of the mask.
        where: its file.

    Raises:
        AnalysisError: the sides are in another proportion.
    """
    from attn.analysis.images import read_image

    image = read_image(trace, sample)
    if image is None:
        return
    height, width = image.shape[:2]
    rows, columns = shape
    if abs(rows * width - columns * height) > max(rows * width, columns * height) / 50:
        raise AnalysisError(
            f"{where} is {columns}x{rows}, but the picture is {width}x{height}: a mask has the "
            "picture's proportions, to 2 %"
        )
