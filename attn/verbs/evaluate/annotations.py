"""Masks as data sets lay them out: a COCO file of annotations, or VOC's SegmentationClass.

What is looked for is the picture that is called like the folder of the trace. Categories that the
prompt does not name are left out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np

from attn.errors import AnalysisError
from attn.files.outside import DAMAGED, decode, decode_reason, read_json, read_text
from attn.verbs.evaluate.truths import Truth, image_names, require_shape

if TYPE_CHECKING:
    from attn.analysis.scores.regions import Region, WordRegion
    from attn.trace.trace import Trace

MOST_BITS = 60
"""Bits of a length that is written as text."""
MOST_BYTES = 2**22
"""Bytes of JSON of the outlines or runs of an object, and a quarter of those of a picture."""
MOST_FILLED = 2**32
"""Pixels of a picture, times the outlines of its objects: a few seconds of work."""
VOC = "SegmentationClass"
VOC_NAMES = "classes.txt"
VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
    *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)


class CocoImage(msgspec.Struct, gc=False):
    """A picture of a COCO file."""

    id: int
    file_name: str
    height: int
    width: int


class CocoCategory(msgspec.Struct, gc=False):
    """A category of a COCO file."""

    id: int
    name: str


class CocoRuns(msgspec.Struct):
    """An object of a COCO file as lengths of runs, or as text; see `decode_runs`."""

    counts: list[int] | str


class CocoAnnotation(msgspec.Struct, gc=False):
    """An object of a COCO file; its outlines stay JSON until its picture is looked at.

    As numbers of Python they would take sixteen times the file.
    """

    image_id: int
    category_id: int
    segmentation: msgspec.Raw


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
    objects = content.annotations
    objects.sort(key=_image_of)

    def truth(trace: Trace, sample: int) -> list[WordRegion]:
        image = next((images[name] for name in image_names(trace, sample) if name in images), None)
        if image is None:
            return []
        require_shape(trace, sample, (image.height, image.width), str(files[0]))
        first = bisect_left(objects, image.id, key=_image_of)
        end = bisect_right(objects, image.id, key=_image_of)
        named = ((names.get(it.category_id, ""), it.segmentation) for it in objects[first:end])
        is_told = _asks_prompt(trace)
        told = ((name, outlines) for name, outlines in named if is_told(name))
        regions: dict[str, Region] = {}
        for name, region in _rasterise(told, image, files[0]):
            regions[name] = regions[name] | region if name in regions else region
        return _word_regions(regions)

    return truth


def _image_of(annotation: CocoAnnotation) -> int:
    return annotation.image_id


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
        is_told = _asks_prompt(trace)
        there = [at for at in np.unique(numbers).tolist() if at < len(names)]
        return _word_regions({names[at]: numbers == at for at in there if is_told(names[at])})

    return truth


def _asks_prompt(trace: Trace) -> Callable[[str], bool]:
    """Return what says whether the prompt names something."""
    from attn.trace.words.occurrences import find_occurrences, locate

    words = find_occurrences(trace.words)
    return cache(lambda name: bool(locate(words, [name])))


def _word_regions(regions: Mapping[str, Region]) -> list[WordRegion]:
    """Return the regions that are neither empty nor everything."""
    from attn.analysis.scores.regions import WordRegion

    return [
        WordRegion(name, name, region)
        for name, region in regions.items()
        if region.any() and not region.all()
    ]


def _rasterise(
    named: Iterable[tuple[str, msgspec.Raw]], image: CocoImage, path: Path
) -> Iterator[tuple[str, Region]]:
    """Yield the category and the pixels, (row, column), of each object of a picture.

    Args:
        named: categories and outlines, which are JSON.
        image: the picture.
        path: of the file, for messages.

    Raises:
        AnalysisError: an object is none of a picture of this size, or the picture, or what has to
            be filled in it, is too large.
    """
    from attn.files.images import MOST_PIXELS

    pixels = image.height * image.width
    if not 0 < pixels <= MOST_PIXELS or image.height < 0:
        raise AnalysisError(
            f"{path}: {image.file_name} is {image.width}x{image.height}, expected at most "
            f"{MOST_PIXELS} pixels"
        )
    read = outlined = 0
    for name, segmentation in named:
        data = bytes(segmentation)
        try:
            read += len(data)
            _refuse_long(len(data), read)
            outlines = _decode_outlines(data)
            outlined += 1 if isinstance(outlines, CocoRuns) else 1 + len(outlines)
            _refuse_many(outlined, image)
            if isinstance(outlines, CocoRuns):
                region = _fill_runs(outlines.counts, image)
            else:
                region = _fill_outlines(outlines, image)
        except (ValueError, TypeError) as error:
            raise AnalysisError(f"{path}: an object in {image.file_name}: {error}") from error
        yield name, region


def _refuse_long(size: int, read: int) -> None:
    """Refuse an object of far too many numbers.

    Args:
        size: bytes of its outlines as JSON.
        read: bytes of these and of all before them in the picture.

    Raises:
        ValueError: says how many.
    """
    if size > MOST_BYTES or read > 4 * MOST_BYTES:
        raise ValueError(
            f"its outlines are {size} bytes, {read} with those before it; expected at most "
            f"{MOST_BYTES}, and {4 * MOST_BYTES} of a picture"
        )


def _refuse_many(outlined: int, image: CocoImage) -> None:
    """Refuse more outlines than can be filled in some seconds.

    Raises:
        ValueError: says how many.
    """
    most = MOST_FILLED // (image.height * image.width)
    if outlined > most:
        raise ValueError(
            f"with those before it, {outlined} outlines are to be filled, expected at most {most} "
            f"in {image.width}x{image.height} pixels"
        )


def _decode_outlines(data: bytes) -> list[list[float]] | CocoRuns:
    """Return an object's polygons, or its runs.

    Raises:
        ValueError: it has neither.
    """
    try:
        return decode(
            data, cast("type[list[list[float]] | CocoRuns]", list[list[float]] | CocoRuns)
        )
    except DAMAGED as error:
        raise ValueError(f"it has neither outlines nor runs: {decode_reason(error)}") from error


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
