"""How one word's map forms: a frame per step on one scale, and what it has in common with the end.

Definitions, for one word, with `M_s` its map at step `s` (mean over layers and heads, sum over the
word's tokens in all text segments or in one, on the finest grid; probability, 0 to 1):

- correlation  Pearson's r of the cells of `M_s` with those of the last step's map, and with those
               of the step before; -1 to 1, empty where a map is even.
- balance      the part of the picture's attention that each key segment gets, from `total.image`:
               mean over heads and queries, 0 to 1; all segments add up to 1.
- evenness     of a word: standard deviation over mean of the cells of its map, mean over layers,
               steps and samples; 0 is even. Without a word the least even one is followed.
- activity     of a token: the largest part of a place's attention to text that it gets, from
               `share_max.image.text`, mean over layers and steps, 0 to 1; and its mass.

Noise is what is left of it at a step as the model sees it: σ in flow models, √(1 - ᾱ) in others.

Source: ScribbleDiffusion's pictures of the same names. There every frame has another token and a
scale of its own, the timestep is called noise, and the curve of correlations was only spoken of.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from attn.analysis.needs import Needs
from attn.analysis.numbers import Numbers, mean_present
from attn.analysis.result import Result, Text
from attn.analysis.tables import Table, make_table
from attn.analysis.words.curves import step_axis
from attn.analysis.words.evolution_texts import describe, summarise
from attn.analysis.words.selection import (
    BLOCK,
    Scale,
    Scope,
    Selection,
    choose,
    note_frames,
    step_maps,
)
from attn.errors import AnalysisError, did_you_mean
from attn.schema import Token
from attn.trace.means import average
from attn.trace.words.occurrences import (
    Mode,
    Occurrence,
    Phrase,
    find_phrases,
    locate,
    select_words,
)
from attn.trace.words.sums import TOGETHER, lay_out, sum_tokens, word_positions
from attn.words import is_content

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace.trace import Trace

NEEDS = Needs(
    segments=("image", "text"),
    measures=(f"map.{BLOCK}", f"mass.{BLOCK}", f"share_max.{BLOCK}"),
    words=True,
    stepwise=True,
)
NAME = "evolution"
SECONDS = (0.02, 60.0)
"""How long a step can be shown: browsers slow down shorter ones, GIFs count 1/100 s in 16 bits."""
NUMBERED = re.compile(r"(.*\S)\s*\((\d{1,6})\)\s*", re.DOTALL)
"""How the second of several equal words is labelled."""


@dataclass(frozen=True)
class EvolutionOptions(Scope):
    """What to follow."""

    word: str | None = field(
        default=None,
        metadata={
            "help": "the word to follow, as circle, red circle or circle (2); none is that "
            "whose map is the least even, but articles and the like"
        },
    )
    phrase_mode: Mode = field(
        default="span", metadata={"help": "bag takes the words of a phrase wherever they stand"}
    )
    segment: str | None = field(
        default=None,
        metadata={"help": "text segment whose tokens count; none adds those of all segments up"},
    )
    specials: bool = field(
        default=False, metadata={"help": "list special tokens and padding among the tokens too"}
    )
    seconds: float = field(default=0.4, metadata={"help": "how long the GIF shows each step"})

    scale: Scale = field(
        default="auto",
        metadata={
            "help": "of the page's colours: own gives each step its own; auto is shared, as the "
            "animation always is"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        shortest, longest = SECONDS
        if not shortest <= self.seconds <= longest:
            raise ValueError(
                f"seconds must be {shortest:g} to {longest:g}, which GIFs can hold and browsers "
                f"show; got {self.seconds:g}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The words and phrases that are looked for in the prompt."""
        followed = () if self.word is None else (_part_number(self.word)[0],)
        return (*super().names, *followed)

    def require(self, prompt: Sequence[Occurrence]) -> None:
        """Refuse a prompt that lacks the word to follow.

        Raises:
            AnalysisError: it does.
        """
        if self.word is not None:
            _find_word(prompt, self)


def run(trace: Trace, options: EvolutionOptions) -> Result:
    """Follow one word of a trace over its steps.

    Returns:
        The tables `evolution/{tokens,correlation,balance}.csv`, the texts `prompt_info.txt` and
        `attention_stats.txt`; arrays `maps` (sample, step, row, column), `correlation` (sample,
        against, step), `balance` (sample, segment, layer, step).

    Raises:
        AnalysisError: a word, layer, step or branch is not there.
    """
    selection = choose(trace, options)
    tokens = _activity(trace, selection, options.specials)
    word = _choose_word(trace, selection, options)
    maps = _follow(trace, selection, word, options)
    tables = {f"{NAME}/tokens.csv": tokens}
    arrays = {"maps": maps, "correlation": _correlate(maps)}
    tables[f"{NAME}/correlation.csv"] = _long(arrays["correlation"], "against", "correlation")
    balance = _balance(trace, selection)
    if balance is not None:
        arrays["balance"] = balance
        tables[f"{NAME}/balance.csv"] = _long(balance, "segment", "mass")
    files = {
        f"{NAME}/prompt_info.txt": Text(describe(trace)),
        f"{NAME}/attention_stats.txt": Text(summarise(arrays, tokens)),
    }
    return Result(tables, arrays, note_frames(selection.layers), files)


def _choose_word(trace: Trace, selection: Selection, options: EvolutionOptions) -> Occurrence:
    """Return the word that was asked for, or of the selected ones that with the least even map.

    Articles and the like give way to others, if there are any.
    """
    if options.word is not None:
        return _find_word(selection.prompt, options)
    read = {segment.name for layer in selection.layers for segment in layer.keys}
    tokens = [token for token in selection.tokens if token.segment in read]
    groups = word_positions(selection.words, tokens, options.segment or TOGETHER)
    there = [word for word, group in zip(selection.words, groups, strict=True) if group]
    telling = [word for word in there if is_content(word.text)] or there or list(selection.words)
    if len(telling) == 1:
        return telling[0]
    kept = [group for word, group in zip(selection.words, groups, strict=True) if word in telling]
    mean = average(trace, BLOCK, selection.layers, selection.steps, selection.branch)
    maps = sum_tokens(mean.values, lay_out(mean.columns, kept))
    cells = maps.reshape(len(maps), -1, maps.shape[-1])  # sample, cell, word
    unevenness = (cells.std(1) / np.maximum(cells.mean(1), np.finfo(float).tiny)).mean(0)
    return telling[int(np.argmax(unevenness))]


def _part_number(text: str) -> tuple[str, int]:
    """Return the text and the number of `circle (2)`; without one it is the first."""
    numbered = NUMBERED.fullmatch(text)
    return (numbered[1], int(numbered[2])) if numbered else (text, 1)


def _find_word(prompt: Sequence[Occurrence], options: EvolutionOptions) -> Occurrence:
    """Return `circle`, the phrase `red circle`, or the second of its kind, `circle (2)`.

    Raises:
        AnalysisError: the prompt does not have it, or not so often.
    """
    text, number = _part_number(options.word or "")
    is_phrase = len(text.split()) > 1 or any(len(it.words) > 1 for it in locate(prompt, (text,)))
    mode = options.phrase_mode
    matches = find_phrases(prompt, (text,), mode) if is_phrase else select_words(prompt, (text,))
    if not 1 <= number <= len(matches):
        raise AnalysisError(
            f"evolution.word: the prompt has '{text}' {len(matches)} times; got number {number}, "
            f"expected 1 to {len(matches)}"
        )
    return matches[number - 1]


def _follow(
    trace: Trace, selection: Selection, word: Occurrence, options: EvolutionOptions
) -> xr.DataArray:
    """Return the word's map at every step."""
    import xarray as xr

    members = [selection.prompt[at] for at in word.words] if isinstance(word, Phrase) else [word]
    read = {segment.name for layer in selection.layers for segment in layer.keys}
    tokens = [token for token in selection.tokens if token.segment in read]
    segments = _segments(tokens, members, options.segment)
    groups = word_positions(members, tokens, options.segment or TOGETHER)
    maps, ran = step_maps(trace, selection, groups)
    return xr.DataArray(
        maps.sum(-1),
        step_axis(trace, selection.steps),
        ("sample", "step", "row", "column"),
        attrs={
            "word": word.label,
            "branch": selection.branch,
            "segments": segments,
            "layers": list(ran),
            "seconds": options.seconds,
            "scale": options.scale,
        },
    )


def _segments(
    tokens: Sequence[Token], words: Sequence[Occurrence], segment: str | None
) -> list[str]:
    """Return the text segments in which the words have tokens that are followed.

    Raises:
        AnalysisError: there is no such segment, or it holds not all of the words.
    """
    names = list(dict.fromkeys(token.segment for token in tokens))
    if segment not in (None, *names):
        hint = did_you_mean(str(segment), names)
        raise AnalysisError(
            f"evolution.segment: there is no text segment '{segment}', only "
            f"{', '.join(names)}.{hint}"
        )
    held = {
        name: {token.word for token in tokens if token.segment == name}
        for name in (names if segment is None else [segment])
    }
    lost = [
        word.label for word in words if not any(word.index in members for members in held.values())
    ]
    if lost:
        raise AnalysisError(
            f"evolution.word: no token of '{lost[0]}' was read in {' or '.join(held)}, so there is "
            "nothing to follow; name another word"
        )
    return [name for name, members in held.items() if any(word.index in members for word in words)]


def _correlate(maps: xr.DataArray) -> xr.DataArray:
    """Return Pearson's r with the last step and with the step before."""
    import xarray as xr

    cells = maps.values.reshape(*maps.shape[:2], -1)
    centred = cells - cells.mean(-1, keepdims=True)
    norms = np.linalg.norm(centred, axis=-1)

    def pearson(first: Numbers, other: Numbers, scales: Numbers) -> Numbers:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((first * other).sum(-1) / scales)

    last = pearson(centred, centred[:, -1:], norms * norms[:, -1:])
    before = np.full_like(last, np.nan)
    before[:, 1:] = pearson(centred[:, 1:], centred[:, :-1], norms[:, 1:] * norms[:, :-1])
    return xr.DataArray(
        np.stack([last, before], 1),
        {"against": ["last step", "step before"], **_time(maps)},
        ("sample", "against", "step"),
        attrs={"word": maps.attrs["word"], "branch": maps.attrs["branch"]},
    )


def _balance(trace: Trace, selection: Selection) -> xr.DataArray | None:
    """Return the mass of each key segment; None if the layers do not share several segments."""
    import xarray as xr

    names, *others = [[segment.name for segment in layer.keys] for layer in selection.layers]
    if len(names) < 2 or any(other != names for other in others):  # noqa: PLR2004 - two sides
        return None
    totals = []
    for layer in selection.layers:
        view = trace.pieces("total", layer.index, "image")
        branch = trace.branches.index(selection.branch)
        rows = [
            view.read((step, branch, *[slice(None)] * 3))
            for step in _step_indices(trace, selection)
        ]
        totals.append(np.asarray(rows, np.float64).mean(2))  # step, sample, segment
    return xr.DataArray(
        np.transpose(np.stack(totals), (2, 3, 0, 1)),
        {
            "segment": names,
            "layer": [layer.index for layer in selection.layers],
            "path": ("layer", [layer.path for layer in selection.layers]),
            **step_axis(trace, selection.steps),
        },
        ("sample", "segment", "layer", "step"),
        attrs={"branch": selection.branch},
    )


def _activity(trace: Trace, selection: Selection, specials: bool) -> Table:
    """Rank the tokens of all text segments by the largest part that they get anywhere."""
    kept = [token for token in selection.tokens if token.is_content or specials]
    largest = token_means(trace, selection, "share_max")
    mass = token_means(trace, selection, "mass")
    rows = [
        (sample, token, largest[token.segment, token.position][sample])
        for sample in range(trace.manifest.samples)
        for token in kept
        if (token.segment, token.position) in largest
    ]
    rows.sort(key=lambda row: (row[0], -row[2]))
    return make_table(
        {
            "sample": np.array([row[0] for row in rows], int),
            "token": np.array([row[1].text for row in rows], object),
            "segment": np.array([row[1].segment for row in rows], object),
            "position": np.array([row[1].position for row in rows], int),
            "word": np.array([_word(selection, row[1]) for row in rows], object),
            "share_max": np.array([row[2] for row in rows], float),
            "mass": np.array(
                [mass[row[1].segment, row[1].position][row[0]] for row in rows], float
            ),
        }
    )


def token_means(trace: Trace, selection: Selection, name: str) -> dict[tuple[str, int], Numbers]:
    """Return a measure of every text key, (sample), mean over layers, steps and heads."""
    branch = trace.branches.index(selection.branch)
    values = []
    for layer in selection.layers:
        view = trace.pieces(name, layer.index, BLOCK)
        rest = [slice(None)] * (len(view.sizes) - 2)
        for step in _step_indices(trace, selection):
            measured = np.asarray(view.read((step, branch, *rest)), np.float64)
            values.append(measured.mean(1) if name == "mass" else measured)
    means = mean_present(np.stack(values), 0)  # sample, key
    columns = trace.pieces(name, selection.layers[0].index, BLOCK).columns
    return {
        (column.segment, column.position): means[:, index]
        for index, column in enumerate(columns)
        if column.position is not None
    }


def _word(selection: Selection, token: Token) -> str:
    return "" if token.word is None else selection.prompt[token.word].label


def _step_indices(trace: Trace, selection: Selection) -> list[int]:
    """Return the indices of the selected steps on the step axis."""
    indices = [step.index for step in trace.steps]
    return [indices.index(step) for step in selection.steps]


def _time(array: xr.DataArray) -> dict[str, Any]:
    return {"step": array["step"].values, "noise": ("step", array["noise"].values)}


def _long(array: xr.DataArray, series: str, value: str) -> Table:
    """Lay an array out as a table: one row per cell, with the noise of its step."""
    indices = np.indices(array.shape).reshape(array.ndim, -1)
    columns = {
        str(dim): array[dim].values[index] if dim in array.coords else index
        for dim, index in zip(array.dims, indices, strict=True)
    }
    columns[series] = columns[series].astype(object)
    noise = array["noise"].values[indices[array.dims.index("step")]]
    return make_table(columns | {"noise": noise, value: array.values.ravel()})
