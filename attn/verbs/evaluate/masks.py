"""A folder with a mask for each word: `PICTURE/WORD.png`, or `WORD.png` for a single picture."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from attn.errors import AnalysisError
from attn.verbs.evaluate.truths import Truth, image_names, require_shape

if TYPE_CHECKING:
    from PIL.Image import Image

    from attn.analysis.scores.regions import Region, WordRegion
    from attn.trace.trace import Trace

SUFFIX = ".png"
_NUMBERED = re.compile(r"(.+?)[-_]\d+")


def masks_truth(folder: Path) -> Truth:
    """Return the truth of a folder of masks.

    A mask is white, or opaque, where the word is: a pixel belongs to it if it is above half of the
    mask's largest value. `star-1.png` and `star-2.png` are one region of `star`.

    Raises:
        AnalysisError: there is no PNG in it.
    """
    if not any(folder.glob(f"*{SUFFIX}")) and not any(folder.glob(f"*/*{SUFFIX}")):
        raise AnalysisError(
            f"{folder} has no masks; expected WORD.png, PICTURE/WORD.png, a COCO file of "
            "annotations or a folder SegmentationClass"
        )

    def truth(trace: Trace, sample: int) -> list[WordRegion]:
        named = [folder / name for name in image_names(trace, sample)]
        at = next((path for path in named if path.is_dir()), folder)
        return list(_read_folder(at, trace, sample))

    return truth


def _read_folder(folder: Path, trace: Trace, sample: int) -> Iterator[WordRegion]:
    from attn.analysis.scores.regions import WordRegion
    from attn.trace.words.prompts import read_prompt

    regions: dict[str, Region] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        match = _NUMBERED.fullmatch(path.stem)
        word = match[1] if match else path.stem
        region = read_mask(path)
        require_shape(trace, sample, region.shape, str(path))
        if word in regions and regions[word].shape != region.shape:
            raise AnalysisError(f"{path}: the masks of '{word}' are of different sizes")
        regions[word] = regions[word] | region if word in regions else region
    for word, region in regions.items():
        _require_word(trace, word, folder)
        yield WordRegion(word, word, region)
    read_prompt(trace.manifest, trace.branches[0], tuple(regions))


def read_mask(path: Path) -> Region:
    """Return the places of a mask, (row, column).

    Raises:
        AnalysisError: it cannot be read, is empty, or is the whole picture.
    """
    from attn.files.images import MOST_BYTES, UndecodableImageError, decode_image
    from attn.files.outside import read_bytes

    try:
        image = decode_image(read_bytes(path, limit=MOST_BYTES, error=AnalysisError))
    except UndecodableImageError as error:
        raise AnalysisError(f"could not read the mask {path}: {error}") from error
    values = _values(image)
    region = np.asarray(values > values.max() / 2)
    if not region.any() or region.all():
        what = "empty" if not region.any() else "the whole picture"
        raise AnalysisError(
            f"the mask {path} is {what}, so there is nothing to be found; remove it if the word "
            "names nothing there"
        )
    return region


def _values(image: Image) -> np.ndarray:
    """Return what a mask is made of: its opacity where it has any, else its brightness."""
    if "A" in image.getbands() or "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if alpha.min() < alpha.max():
            return alpha
    return np.asarray(image.convert("L") if image.mode not in ("I", "I;16", "1") else image)


def _require_word(trace: Trace, word: str, folder: Path) -> None:
    """Refuse a mask of a word that the prompt does not have.

    Raises:
        AnalysisError: names the file.
    """
    from attn.trace.words.occurrences import find_occurrences, find_phrases, select_words
    from attn.words import word_keys

    words = find_occurrences(trace.words)
    try:
        if len(word_keys(word)) > 1:
            find_phrases(words, [word], "span")
        else:
            select_words(words, [word])
    except AnalysisError as error:
        raise AnalysisError(f"{folder / word}{SUFFIX}: {error}") from error
