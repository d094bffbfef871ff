"""Maps of some of the concepts, or of groups of them, made of queries and keys that were kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from attn.errors import AnalysisError, did_you_mean
from attn.schema import part, positions
from attn.shapes import ConceptKeys, GroupShares, HeadQueries
from attn.trace.measures.views import MeasureView, Selection
from attn.words import fold

if TYPE_CHECKING:
    from attn.trace.trace import Trace

FEWEST = 2
"""Concepts that can be held against each other."""
JOIN = "+"
"""Between concepts that are held against the others as one."""

IMAGE = "image"
"""Query part of which there are maps."""

Group = tuple[int, ...]
"""Places of its members among the concepts of the trace."""


def find_groups(concepts: Sequence[str], among: Iterable[str]) -> dict[str, Group]:
    """Return which concepts are meant, by the name under which they are held against each other.

    Args:
        concepts: of the trace.
        among: a concept, or several with `+` between them; case does not count.

    Raises:
        AnalysisError: one is not of the trace, or in several groups; or there are fewer than two.
    """
    places = {fold(concept): place for place, concept in enumerate(concepts)}
    groups: dict[str, Group] = {}
    for typed in among:
        whole = " ".join(typed.split())
        names = [whole] if fold(whole) in places else [of.strip() for of in whole.split(JOIN)]
        for name in names:
            if fold(name) not in places:
                raise AnalysisError(
                    f"there is no concept '{name}' in this trace; it was captured with "
                    f"{', '.join(concepts)}.{did_you_mean(name, concepts)}"
                )
        group = tuple(places[fold(name)] for name in names)
        label = JOIN.join(concepts[place] for place in group)
        again = [place for place in group if [*group, *sum(groups.values(), ())].count(place) > 1]
        if again:
            raise AnalysisError(f"concept '{concepts[again[0]]}' is named twice; name each once")
        groups[label] = group
    if len(groups) < FEWEST:
        raise AnalysisError(
            f"concepts are held against each other: name two or more of {', '.join(concepts)}; "
            f"got {', '.join(groups) or 'none'}"
        )
    return groups


@dataclass(frozen=True, kw_only=True)
class RegroupedView(MeasureView):
    """Maps of concepts that are made anew, as if only some groups of them had been captured.

    Attributes:
        queries: of the layer.
        keys: the concepts' keys in the same layer.
        scales: what its logits are multiplied by.
        groups: see `find_groups`.
    """

    queries: MeasureView
    keys: MeasureView
    scales: MeasureView
    groups: tuple[Group, ...]

    def reader(self, selection: Selection) -> Callable[[tuple[int, ...]], np.ndarray]:
        """Return what makes (sample, row, column, group) of a step; see `MeasureView.reader`.

        Args:
            selection: branch and samples; what is behind them is taken whole.
        """
        cell, whole = selection[:2], slice(None)
        image = np.array(positions(part(self.layer.queries, IMAGE)), np.int64)
        queries = self.queries.reader((*cell, whole, image, whole))
        keys = self.keys.reader((*cell, whole, whole, whole, whole))
        scales = self.scales.reader(cell)

        def read_step(lead: tuple[int, ...]) -> np.ndarray:
            read = [of(lead).astype(np.float32) for of in (queries, keys, scales)]
            maps = np.stack(
                [
                    point(query, key, scale, self.groups)
                    for query, key, scale in zip(*read, strict=True)
                ]
            )
            return maps.reshape(len(maps), *(self.grid or ()), len(self.groups))

        return read_step


def regroup(trace: Trace, layer: int, groups: Iterable[Group]) -> RegroupedView:
    """Return the maps of groups of concepts in a layer.

    Raises:
        AnalysisError: the concepts there depend on each other.
        TraceError: queries and the concepts' keys were not kept.
    """
    selected = trace.layer(layer)
    if selected.kind == "joint":
        raise AnalysisError(
            f"in layer {layer} ({selected.path}) concepts attend to each other, so that some of "
            "them alone would have other maps: capture again with these in --concepts"
        )
    factors = [trace.pieces(name, layer, None) for name in ("query", "concept_key", "scale")]
    for view in factors:
        view.require_fit()
    captured = trace.pieces("concepts", layer, IMAGE, lay_out=True)
    same = {field.name: getattr(captured, field.name) for field in fields(captured)}
    queries, keys, scales = factors
    return RegroupedView(**same, queries=queries, keys=keys, scales=scales, groups=tuple(groups))


def point(
    query: HeadQueries, key: ConceptKeys, scale: np.float32, groups: Sequence[Group]
) -> GroupShares:
    """Return which groups of concepts the logits of queries point to.

    With l(c) = log mean over the tokens t of exp(scale · query · key(t)), and of a group the mean
    of exp l over its members: mean over heads of exp l / Σ over all groups of exp l.

    Args:
        query: (head, query, channel).
        key: (head, concept, position, channel), NaN after the tokens of a short concept.
        scale: of the logits.
        groups: places among the concepts.

    Returns:
        (query, group), sum 1 over the groups; NaN where the layer did not run.
    """
    used = key[:, [place for group in groups for place in group]]
    is_token = np.expand_dims(~np.isnan(used).any(-1), 1)
    logits = (query * scale) @ used.reshape(len(used), -1, used.shape[-1]).swapaxes(1, 2)
    logits = logits.reshape(*query.shape[:2], *used.shape[1:3])
    with np.errstate(invalid="ignore"):  # of a layer that did not run
        logits -= np.where(is_token, logits, -np.inf).max((2, 3), keepdims=True)
        powers = np.where(is_token, np.exp(logits), 0).sum(-1) / is_token.sum(-1)
    ends = np.cumsum([len(group) for group in groups])[:-1]
    shares = np.stack([of.mean(-1) for of in np.split(powers, ends, axis=-1)], -1)
    return np.asarray((shares / shares.sum(-1, keepdims=True)).mean(0), np.float32)
