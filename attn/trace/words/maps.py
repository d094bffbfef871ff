"""Maps of words and phrases, as `Trace.word_maps` returns them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from attn.errors import TraceError
from attn.trace.means import MapSums, find_layers, image_views
from attn.trace.measures.axes import index_of
from attn.trace.words.occurrences import Occurrence, Phrase, find_phrases, select_words
from attn.trace.words.prompts import Prompt, read_prompt
from attn.trace.words.sums import TokenPosition, lay_out, sum_tokens

if TYPE_CHECKING:
    import xarray as xr

    from attn.schema import Layer
    from attn.trace.trace import Trace

BLOCK = "image.text"


def word_maps(
    trace: Trace,
    words: Sequence[str] | None,
    phrases: Sequence[str],
    layers: Iterable[int | str] | None,
    steps: Iterable[int] | None,
    heads: Sequence[int] | None,
    cell: tuple[str | None, str, int | None],
) -> xr.DataArray:
    """Return `Trace.word_maps`; `cell` is the tower, the guidance row and the frame."""
    import xarray as xr

    tower, branch, frame = cell
    row = index_of("branch", branch, trace.branches)
    selected = find_layers(trace, BLOCK, layers, tower)
    prompt = read_prompt(trace.manifest, branch, (*(words or ()), *phrases))
    terms = [
        *select_words(prompt.words, words),
        *find_phrases(prompt.words, phrases, "span"),
    ]
    if not terms:
        raise TraceError("no word and no phrase is named; words=None takes all words")
    _require_heads(selected, heads or ())
    name = "map" if heads is None else "headmap"
    views = image_views(trace, BLOCK, selected, name, frame=frame)
    sums = MapSums(views, row, heads=heads, frame=frame)
    for lead in views[0].leads(steps):
        sums.add(lead)
    columns = views[0].columns
    segments = [
        name
        for name in dict.fromkeys(column.segment for column in columns)
        if name in prompt.segments
    ]
    groups = [_positions(prompt, term, name) for name in segments for term in terms]
    values = sum_tokens(sums.mean(), lay_out(columns, groups))
    values = values.reshape(*values.shape[:3], len(segments), len(terms))
    return xr.DataArray(
        np.transpose(values, (0, 3, 4, 1, 2)).astype(np.float32),
        {"segment": segments, **_labels(terms)},
        ("sample", "segment", "word", "row", "column"),
        "word_maps",
        {
            "measure": "map",
            "units": "probability",
            "block": BLOCK,
            "branch": branch,
            "tower": selected[0].tower,
            "layers": sorted(sums.layers),
        },
    )


def _positions(prompt: Prompt, term: Occurrence, segment: str) -> tuple[TokenPosition, ...]:
    if not isinstance(term, Phrase):
        return prompt.positions({term.index}, segment)
    members = set(term.words)
    return prompt.positions(members, segment) if prompt.is_whole(members, segment) else ()


def _labels(terms: Sequence[Occurrence]) -> dict[str, object]:
    kinds = ["phrase" if isinstance(term, Phrase) else "word" for term in terms]
    return {
        "word": [term.label for term in terms],
        "kind": ("word", kinds),
        "start": ("word", [term.start for term in terms]),
        "stop": ("word", [term.stop for term in terms]),
    }


def _require_heads(layers: Sequence[Layer], heads: Sequence[int]) -> None:
    for layer in layers:
        beyond = [head for head in heads if not 0 <= head < layer.num_heads]
        if beyond:
            raise TraceError(
                f"there is no head {beyond[0]} in layer {layer.index} ({layer.path}): it has "
                f"{layer.num_heads} heads, 0 to {layer.num_heads - 1}"
            )
