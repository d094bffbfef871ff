"""Selection of what to analyse: layers, steps, guidance row, words and phrases of the prompt."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from attn.analysis.numbers import Numbers
from attn.analysis.words.focus import BEST, find_best_layer, read_pictures
from attn.analysis.words.phrases import Weights
from attn.analysis.words.select import select_steps, select_tower
from attn.errors import AnalysisError
from attn.schema import Layer, Manifest, Plane, Token
from attn.trace.grids import resample_values
from attn.trace.means import average
from attn.trace.words.occurrences import Mode, Occurrence, Phrase, find_phrases, select_words
from attn.trace.words.prompts import Prompt, read_prompt
from attn.trace.words.sums import TokenPosition, lay_out, sum_tokens
from attn.wording import count_noun
from attn.words import find_words

if TYPE_CHECKING:
    from attn.trace.trace import Trace

BLOCK = "image.text"
Scale = Literal["auto", "shared", "own"]
"""Which maps share a colour scale."""
SCALE_HELP = (
    "of colours: shared by all maps of a page and its files, each map's own, or auto, which is "
    "shared on pages and own in files of one map"
)


@dataclass(frozen=True)
class Scope:
    """Options that all analyses of words have."""

    words: tuple[str, ...] | None = field(
        default=None, metadata={"help": "only these words; case does not count"}
    )
    layers: tuple[str, ...] = field(
        default=(),
        metadata={"help": "7, 0-11, a glob of the path, or best; empty is the first tower"},
    )
    steps: tuple[str, ...] = field(default=(), metadata={"help": "7 or 0-9; empty is every step"})
    branch: str | None = field(
        default=None, metadata={"help": "guidance row; none is the first that was kept"}
    )

    def __post_init__(self) -> None:
        if self.words == ():
            raise ValueError("words: nothing is named; leave the option out for all words")

    @property
    def names(self) -> tuple[str, ...]:
        """The words and phrases that are looked for in the prompt."""
        return self.words or ()

    def find_phrases(self, prompt: Sequence[Occurrence]) -> tuple[Phrase, ...]:
        """Return the phrases that are looked at.

        Raises:
            AnalysisError: the prompt does not have one.
        """
        return ()

    def require(self, prompt: Sequence[Occurrence]) -> None:
        """Refuse a prompt that lacks the word without which there is nothing to look at.

        Raises:
            AnalysisError: it does.
        """


@dataclass(frozen=True)
class PhraseScope(Scope):
    """Options of the analyses that look at phrases, and draw some of all."""

    phrases: tuple[str, ...] | None = field(
        default=None, metadata={"help": "words in a row, taken together; also --phrases 'a b|c d'"}
    )
    topk: int | None = field(
        default=None, metadata={"help": "draw only this many words, those of most mass"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.topk is not None and self.topk < 1:
            raise ValueError(f"topk must be at least 1, got {self.topk}")
        if self.phrases == ():
            raise ValueError("phrases: nothing is named; leave the option out")

    def find_phrases(self, prompt: Sequence[Occurrence]) -> tuple[Phrase, ...]:
        """Return the phrases that are looked at.

        Raises:
            AnalysisError: the prompt does not have one.
        """
        return find_phrases(prompt, self.phrases or (), "span")

    @property
    def names(self) -> tuple[str, ...]:
        """The words and phrases that are looked for in the prompt."""
        return (*super().names, *(self.phrases or ()))


@dataclass(frozen=True)
class Choice(PhraseScope):
    """Options of the analyses that combine a phrase's words, for each text segment on its own."""

    phrase_mode: Mode = field(
        default="span", metadata={"help": "bag takes a phrase's words wherever they stand"}
    )
    weights: Weights = field(
        default="sum",
        metadata={"help": "of a phrase's words: their sum, or their mean weighed so"},
    )
    together: bool = field(
        default=False, metadata={"help": "add the segment text: the tokens of all encoders"}
    )

    def find_phrases(self, prompt: Sequence[Occurrence]) -> tuple[Phrase, ...]:
        """Return the phrases that are looked at.

        Raises:
            AnalysisError: the prompt does not have one.
        """
        return find_phrases(prompt, self.phrases or (), self.phrase_mode)

    @property
    def names(self) -> tuple[str, ...]:
        """The words and phrases that are looked for in the prompt."""
        if self.phrase_mode != "bag":
            return super().names
        parts = (word.text for phrase in self.phrases or () for word in find_words(phrase))
        return (*(self.words or ()), *parts)


@dataclass(frozen=True)
class Selection:
    """Selection of what to analyse; `words` are the selected ones of `text`."""

    branch: str
    layers: tuple[Layer, ...]
    steps: tuple[int, ...]
    text: Prompt
    words: tuple[Occurrence, ...]
    phrases: tuple[Phrase, ...]

    @property
    def prompt(self) -> tuple[Occurrence, ...]:
        """All words of the text."""
        return self.text.words

    @property
    def tokens(self) -> tuple[Token, ...]:
        """All tokens, with the indices of these words."""
        return self.text.tokens


Kind = Literal["words", "phrases"]
NAMING = ("words", "phrases", "word")
"""Options that name what is looked at."""
NEEDED = ("words", "word")
"""Those of them without which nothing is left to look at."""


def without_absent(manifest: Manifest, options: Scope) -> tuple[Scope | None, tuple[str, ...]]:
    """Leave out the words and phrases that the prompt of a trace does not have.

    Args:
        manifest: of the trace.
        options: what is looked at.

    Returns:
        The options, None if no word is left to look at; and what was left out.
    """
    absent: list[str] = []
    left: dict[str, Any] = {}
    nothing = dict.fromkeys(kind for kind in NAMING if hasattr(options, kind))
    for kind in nothing:
        value = getattr(options, kind)
        requested = (
            {value: value} if isinstance(value, str) else {name: (name,) for name in value or ()}
        )
        alone = {
            name: replace(options, **nothing | {kind: value}) for name, value in requested.items()
        }
        there = tuple(name for name, single in alone.items() if _is_there(manifest, single))
        absent += [name for name in requested if name not in there]
        left |= {kind: value if isinstance(value, str) else there} if there else {kind: None}
    is_empty = any(getattr(options, kind) and not left[kind] for kind in NEEDED if kind in left)
    return None if is_empty else replace(options, **left), tuple(absent)


def _is_there(manifest: Manifest, options: Scope) -> bool:
    """Whether the prompt has all that is looked at."""
    try:
        prompt = read_prompt(manifest, options.branch or manifest.branches[0], options.names)
        select_words(prompt.words, options.words)
        options.find_phrases(prompt.words)
        options.require(prompt.words)
    except AnalysisError:
        return False
    return True


@lru_cache(maxsize=1)  # several analyses of one trace ask for the same
def _prompt(trace: Trace, branch: str, names: tuple[str, ...]) -> Prompt:
    return read_prompt(trace.manifest, branch, names)


def choose(trace: Trace, options: Scope, block: str = BLOCK) -> Selection:
    """Find what the options name, of the layers that kept a block.

    Raises:
        AnalysisError: a word, phrase, layer, step or branch is not there.
    """
    branch = options.branch or trace.branches[0]
    if branch not in trace.branches:
        listed = ", ".join(trace.branches)
        raise AnalysisError(f"branch '{branch}' was not captured; there is {listed}")
    prompt = _prompt(trace, branch, options.names)
    if not prompt.words and branch == "uncond":
        raise AnalysisError("the negative prompt has no words; leave branch out for the prompt's")
    captured = [layer for layer in trace.layers if block in layer.blocks]
    steps = select_steps(trace.steps, options.steps)
    if options.layers == (BEST,):
        tower = select_tower(captured, ())
        pictures = read_pictures(trace, BLOCK, tower)
        best = find_best_layer(trace, BLOCK, tower, steps, (branch, prompt), pictures)
        layers: tuple[Layer, ...] = (best.layer,)
    else:
        layers = select_tower(captured, options.layers, captured=trace.layers)
    return Selection(
        branch=branch,
        layers=layers,
        steps=steps,
        text=prompt,
        words=select_words(prompt.words, options.words),
        phrases=options.find_phrases(prompt.words),
    )


def note_frames(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Note that the maps of a video are means over its frames; nothing of pictures."""
    frames = max((layer.frames for layer in layers), default=0)
    if frames <= 1:
        return ()
    told = (
        f"maps are means over the {count_noun(frames, 'frame')} of the video's latents, and its "
        "middle frame is shown beside them: --only frames has each frame"
    )
    return (told,)


def say_many(layers: Sequence[Layer], count: int, steps: int) -> str:
    """Say over how many layers, steps and frames of a video a mean is taken.

    Args:
        layers: whose maps they are.
        count: of the layers that ran.
        steps: how many.
    """
    frames = max((layer.frames for layer in layers), default=0)
    counts = [(count, "layer"), (steps, "step"), *([(frames, "frame")] if frames > 1 else [])]
    return ", ".join(count_noun(number, noun) for number, noun in counts)


def step_maps(
    trace: Trace, selection: Selection, groups: Sequence[Collection[TokenPosition]]
) -> tuple[Numbers, tuple[int, ...]]:
    """Return the maps of groups of tokens at every step, and the layers that are in them.

    Args:
        trace: with maps of single steps.
        selection: what to look at.
        groups: tokens that are added up.

    Returns:
        (sample, step, row, column, group), mean over layers and heads, on the finest grid of any
        step; layers by index.

    Raises:
        TraceError: a step has no maps.
    """
    frames, layers = [], set[int]()
    for step in selection.steps:
        mean = average(trace, BLOCK, selection.layers, [step], selection.branch)
        frames.append(sum_tokens(mean.values, lay_out(mean.columns, groups)))
        layers |= {*mean.layers}
    grids = [(frame.shape[1], frame.shape[2]) for frame in frames]
    finest = max(grids, key=math.prod)  # in a step only layers of a coarser grid may have run
    frames = [_on_grid(frame, finest) for frame in frames]
    return np.stack(frames, axis=1), tuple(sorted(layers))


def _on_grid(maps: Numbers, grid: Plane) -> Numbers:
    """Lay maps (sample, row, column, group) out on another grid."""
    if maps.shape[1:3] == grid:
        return maps
    resampled = resample_values(np.moveaxis(maps, 3, 1), grid)
    return np.moveaxis(resampled, 1, 3).astype(np.float64)
