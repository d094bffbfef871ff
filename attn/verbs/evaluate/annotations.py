"""Masks as data sets lay them out: a COCO file of annotations, or VOC's SegmentationClass.

What is looked for is the picture that is called like the folder of the trace. Categories that the
prompt does not name are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from attn.errors import AnalysisError
from attn.files.outside import read_json, read_text
from attn.verbs.evaluate.truths import Truth, image_names, require_shape

if TYPE_CHECKING:
    from attn.analysis.scores.regions import Region, WordRegion
    from attn.trace.trace import Trace

MOST_BITS = 60
"""Bits of a length that is written as text."""
VOC = "SegmentationClass"
VOC_NAMES = "classes.txt"
VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
    *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)


class CocoImage(msgspec.Struct):
    """A picture of a COCO file."""

    id: int
    file_name: str
    height: int
    width: int


class CocoCategory(msgspec.Struct):
    """A category of a COCO file."""

    id: int
    name: str


class CocoRuns(msgspec.Struct):
    """An object of a COCO file as lengths of runs, or as text; see `decode_runs`."""

    counts: list[int] | str


class CocoAnnotation(msgspec.Struct):
    """An object of a COCO file: polygons, or lengths of runs."""

    image_id: int
    category_id: int
    segmentation: list[list[float]] | CocoRuns


class CocoFile(msgspec.Struct):
    """What is read of a COCO file."""

    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory]


def coco_truth(folder: Path) -> Truth | None:
    """Return the truth of a folder with a COCO file of annotations; None if there is none.

    Raises:
        AnalysisError: there are several, or it is none.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        return None
    if len(files) > 1:
        raise AnalysisError(f"{folder} has several JSON files: leave the one of annotations in it")
    content = read_json(
        files[0], CocoFile, expected="a COCO file of annotations", error=AnalysisError
    )
    names = {category.id: category.name for category in content.categories}
    images = {Path(image.file_name).stem: image for image in content.images}

    def truth(trace: Trace, sample: int) -> list[WordRegion]:
        image = next((images[name] for name in image_names(trace, sample) if name in images), None)
        if image is None:
            return []
        require_shape(trace, sample, (image.height, image.width), str(files[0]))
        regions: dict[str, Region] = {}
        for annotation in content.annotations:
            if annotation.image_id == image.id:
                name = names.get(annotation.category_id, "")
                region = _rasterise(annotation, image, files[0])
                regions[name] = regions[name] | region if name in regions else region
        return _of_prompt(trace, regions)

    return truth


def voc_truth(folder: Path) -> Truth | None:
    """Return the truth of a folder as VOC's; None if it is no such folder.

    The number of a class is its line in `classes.txt`, from 0, or that of VOC.
    """
    masks = folder / VOC
    if not masks.is_dir():
        return None
    listed = folder / VOC_NAMES
    names: Sequence[str] = VOC_CLASSES
    if listed.is_file():
        names = [line.strip() for line in read_text(listed, error=AnalysisError).splitlines()]

    def truth(trace: Trace, sample: int) -> list[WordRegion]:
        from attn.files.images import MOST_BYTES, UndecodableImageError, decode_image
        from attn.files.outside import read_bytes

        paths = [masks / f"{name}.png" for name in image_names(trace, sample)]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            return []
        try:
            image = decode_image(read_bytes(path, limit=MOST_BYTES, error=AnalysisError))
        except UndecodableImageError as error:
            raise AnalysisError(f"could not read {path}: {error}") from error
        if image.mode not in ("P", "L"):
            raise AnalysisError(f"{path} has no numbers of classes: its mode is {image.mode}")
        numbers = np.asarray(image)
        require_shape(trace, sample, numbers.shape, str(path))
        return _of_prompt(trace, {name: numbers == at for at, name in enumerate(names)})

    return truth


def _of_prompt(trace: Trace, regions: dict[str, Region]) -> list[WordRegion]:
    """Return the regions of what the prompt names, which are neither empty nor everything."""
    from attn.analysis.scores.regions import WordRegion
    from attn.trace.words.occurrences import find_occurrences, locate

    words = find_occurrences(trace.words)
    return [
        WordRegion(name, name, region)
        for name, region in regions.items()
        if locate(words, [name]) and region.any() and not region.all()
    ]


def _rasterise(annotation: CocoAnnotation, image: CocoImage, path: Path) -> Region:
    """Return the pixels of an object, (row, column).

    Raises:
        AnalysisError: it is none of a picture of this size, or the picture is too large.
    """
    from attn.files.images import MOST_PIXELS

    outlines, pixels = annotation.segmentation, image.height * image.width
    if not 0 < pixels <= MOST_PIXELS or image.height < 0:
        raise AnalysisError(
            f"{path}: {image.file_name} is {image.width}x{image.height}, expected at most "
            f"{MOST_PIXELS} pixels"
        )
    try:
        if isinstance(outlines, CocoRuns):
            return _fill_runs(outlines.counts, image)
        return _fill_outlines(outlines, image)
    except (ValueError, TypeError) as error:
        raise AnalysisError(f"{path}: an object in {image.file_name}: {error}") from error


def _fill_outlines(outlines: Sequence[Sequence[float]], image: CocoImage) -> Region:
    from PIL import Image, ImageDraw

    canvas = Image.new("1", (image.width, image.height))
    for outline in outlines:
        ImageDraw.Draw(canvas).polygon(list(outline), fill=1)
    return np.asarray(canvas)


def _fill_runs(counts: list[int] | str, image: CocoImage) -> Region:
    """Fill every second run of pixels, column by column.

    Raises:
        ValueError: the runs are not of the picture's size.
    """
    runs = decode_runs(counts) if isinstance(counts, str) else counts
    pixels = image.height * image.width
    if sum(runs) != pixels or min(runs) < 0:
        raise ValueError(f"its runs are of {sum(runs)} pixels, the picture has {pixels}")
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.asarray(inside.reshape(image.width, image.height).T)


def decode_runs(text: str) -> list[int]:
    """Return the lengths of runs that COCO writes as text: five bits a letter, differences.

    Raises:
        ValueError: a number of it has no end.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        value |= (bits & 31) << shift
        shift += 5
        if shift > MOST_BITS:
            raise ValueError(f"a run has more than {MOST_BITS} bits")
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))  # noqa: PLR2004 - from the fourth
        value = shift = 0
    return runs
