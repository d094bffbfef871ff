"""Where each word of the prompt is attended to in each frame of a video, and how much.

Frames are those of the model's latents, several of the video's own but for the first. Definitions,
for a word `w` and a frame `f`:

- map    M_wf[row, column], as `words` has it, of the places of this frame alone; 0 to 1.
- mass   mean over the frame's places of M_wf: the part of the frame's attention that goes to `w`.
         The mean over all frames is the word's mass in the whole video.
- lift   mass, by its mean over all frames: above 1 where the word is attended to more than usual.
- peak   where M_wf is largest.

It says where the frame looks, not what it shows, nor what the word does there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.needs import Needs
from attn.analysis.result import Deferred, Result
from attn.analysis.tables import Table, make_table
from attn.analysis.words.selection import (
    BLOCK,
    SCALE_HELP,
    PhraseScope,
    Scale,
    Selection,
    choose,
)
from attn.trace.frames import frame_spans
from attn.trace.measures.axes import query_image
from attn.trace.words.maps import word_maps
from attn.wording import count_noun

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace.trace import Trace

NEEDS = Needs(segments=("image", "text"), measures=(f"map.{BLOCK}",), words=True, video=True)
DRAWN = 8
"""So many words are drawn unless others are asked for, those of most mass."""


@dataclass(frozen=True)
class FramesOptions(PhraseScope):
    """What to look at, and how to show it."""

    scale: Scale = field(default="auto", metadata={"help": SCALE_HELP})
    film: bool = field(
        default=True, metadata={"help": "draw a film of all words beside the video, as GIF"}
    )
    films: bool = field(default=False, metadata={"help": "also draw a film of each word alone"})


def run(trace: Trace, options: FramesOptions) -> Result:
    """Analyse the words and phrases of a video, frame by frame.

    Returns:
        The table `<segment>/tables/frames.csv`, a row per word, sample and frame; and to draw, by
        segment, maps (sample, frame, word, row, column).

    Raises:
        AnalysisError: a word, phrase, layer, step or branch is not there.
    """
    selection = choose(trace, options)
    maps = _read(trace, selection, options)
    tables, arrays = {}, {}
    for segment in maps["segment"].values:
        here = maps.sel(segment=segment).dropna("word", how="all")
        if not here.sizes["word"]:
            continue
        tables[f"{segment}/tables/frames.csv"] = _tabulate(here, str(segment))
        arrays[str(segment)] = partial(_label, here, str(segment), selection, options)
    if not tables:
        return Result({}, notes=("no captured layer reads a token of the prompt's words",))
    return Result(tables, Deferred(arrays))


def _read(trace: Trace, selection: Selection, options: FramesOptions) -> xr.DataArray:
    """Return (sample, segment, frame, word, row, column), with the video's own frames of each."""
    import xarray as xr

    images = [query_image(layer, BLOCK) for layer in selection.layers]
    count = min(image.frames for image in images if image is not None)
    steps = selection.steps if options.steps else None
    layers = [layer.index for layer in selection.layers]
    typed = options.words, options.phrases or (), layers, steps, None
    frames = [word_maps(trace, *typed, (None, selection.branch, at)) for at in range(count)]
    maps = xr.concat(frames, "frame").assign_coords(frame=np.arange(count))
    spans = np.array(frame_spans(trace.manifest.request.frames or count, count))
    maps = maps.assign_coords(first=("frame", spans[:, 0]), last=("frame", spans[:, 1]))
    terms = [*selection.words, *selection.phrases]
    maps = maps.assign_coords(
        text=("word", [term.text for term in terms]),
        occurrence=("word", [term.number for term in terms]),
    )
    maps.attrs |= {"fps": trace.manifest.request.fps or 1.0}
    return maps.transpose("sample", "segment", "frame", "word", "row", "column")


def _tabulate(maps: xr.DataArray, segment: str) -> Table:
    """Return one row per word, sample and frame."""
    values = maps.transpose("word", "sample", "frame", "row", "column").values.astype(np.float64)
    mass = values.mean((3, 4))
    whole = mass.mean(2, keepdims=True)
    lift = np.divide(mass, whole, out=np.full_like(mass, np.nan), where=whole > 0)
    word, sample, frame = np.indices(mass.shape).reshape(3, -1)
    best = values.reshape(*mass.shape, -1).argmax(-1)
    row, column = np.divmod(best, values.shape[-1])
    return make_table(
        {
            "word": maps["text"].values.astype(object)[word],
            "occurrence": maps["occurrence"].values[word],
            "kind": maps["kind"].values.astype(object)[word],
            "segment": np.full(word.size, segment, object),
            "sample": sample,
            "frame": frame,
            "first": maps["first"].values[frame],
            "last": maps["last"].values[frame],
            "mass": mass.ravel(),
            "lift": lift.ravel(),
            "peak_row": row.ravel(),
            "peak_column": column.ravel(),
        }
    )


def _label(
    maps: xr.DataArray, segment: str, selection: Selection, options: FramesOptions
) -> xr.DataArray:
    """Return the maps to draw: the words of most mass, in the order of the prompt."""
    mass = maps.mean(("sample", "frame", "row", "column")).values
    count = options.topk or (len(mass) if options.words else DRAWN)
    drawn = sorted(np.argsort(-mass, kind="stable")[:count])
    layers = maps.attrs["layers"]
    counts = (len(layers), "layer"), (len(selection.steps), "step")
    many = ", ".join(count_noun(number, noun) for number, noun in counts)
    labelled = maps.isel(word=drawn)
    labelled.attrs |= {
        "segment": segment,
        "steps": list(selection.steps),
        "unit": f"attention probability, mean over {many} and all heads",
        "scale": options.scale,
        "film": options.film,
        "films": options.films,
        "left_out": len(mass) - len(drawn),
    }
    return labelled
