"""Whether variants are a sweep: they differ in one number, or in the file of a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attn.verbs.compare.variants import Variant

if TYPE_CHECKING:
    from attn.analysis.compare.pairs import PairOptions
    from attn.analysis.compare.sweep import Sweep


def find_sweep(variants: Sequence[Variant], options: PairOptions) -> Sweep | None:
    """Return the sweep that variants are; None if they differ in more than one number or file.

    Args:
        variants: that are no controls.
        options: which words are looked at.
    """
    from attn.analysis.compare.sweep import (
        find_files,
        find_scales,
        make_sweep,
        name_training,
        name_unit,
        place_files,
    )

    differences = [variant.differences for variant in variants]
    files, varying = find_files(differences), find_scales(differences)
    unit = ""
    if files is not None:
        places, unit = place_files(files), name_unit(differences, files)
        varying = name_training(differences, unit), 0.0, places
        files = tuple(files[places.index(place)] for place in sorted(places))
    if varying is None:
        return None
    name, base, scales = varying
    runs = [
        (variant.label, scale, variant.pairs)
        for variant, scale in zip(variants, scales, strict=True)
    ]
    return make_sweep(name, base, runs, options.words, files or (), unit)
