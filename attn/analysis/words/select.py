"""Choose layers and steps of a trace by what a user typed."""

from __future__ import annotations

from collections.abc import Sequence

from attn.errors import AnalysisError
from attn.schema import Layer, Step, in_range, layer_matches
from attn.wording import list_some


def select_layers(
    layers: Sequence[Layer],
    patterns: Sequence[str],
    *,
    captured: Sequence[Layer] = (),
    having: str = "text keys",
) -> tuple[Layer, ...]:
    """Return the layers that match one of the patterns, in order.

    Args:
        layers: to choose from, not empty.
        patterns: `7`, `0-11`, a glob of the path, or `tower:glob`; empty is the first tower, so
            that a ControlNet is not averaged into the model that paints.
        captured: all layers of the trace, of which `layers` are those that an analysis can use.
        having: what these have and others lack, for the message.

    Raises:
        AnalysisError: a pattern matches nothing.
    """
    if not patterns:
        return tuple(layer for layer in layers if layer.tower == layers[0].tower)
    for pattern in patterns:
        if not any(layer_matches(layer, pattern) for layer in layers):
            raise AnalysisError(_explain_layers(layers, pattern, captured, having))
    return tuple(
        layer for layer in layers if any(layer_matches(layer, pattern) for pattern in patterns)
    )


def select_tower(
    layers: Sequence[Layer], patterns: Sequence[str], *, captured: Sequence[Layer] = ()
) -> tuple[Layer, ...]:
    """Select layers of a single tower, for analyses that average over layers.

    Raises:
        AnalysisError: a pattern matches nothing, or they match layers of several towers.
    """
    selected = select_layers(layers, patterns, captured=captured)
    towers = list(dict.fromkeys(layer.tower for layer in selected))
    if len(towers) > 1:
        patterns_of = " or ".join(f"layers={tower}:*" for tower in towers)
        raise AnalysisError(
            f"the layers {', '.join(patterns)} are in {len(towers)} towers, {', '.join(towers)}, "
            "which are different networks and have no common mean: ask for one of them, such as "
            f"{patterns_of}"
        )
    return selected


def select_steps(steps: Sequence[Step], patterns: Sequence[str]) -> tuple[int, ...]:
    """Return the indices of the steps in one of the ranges `7` or `0-9`; no range is every step.

    Raises:
        AnalysisError: a range matches nothing.
    """
    indices = [step.index for step in steps]
    for pattern in patterns:
        if not any(in_range(index, pattern) for index in indices):
            listed = f"{indices[0]} to {indices[-1]}"
            raise AnalysisError(f"no captured step matches '{pattern}'; there are {listed}")
    if not patterns:
        return tuple(indices)
    return tuple(
        index for index in indices if any(in_range(index, pattern) for pattern in patterns)
    )


def _explain_layers(
    layers: Sequence[Layer], pattern: str, captured: Sequence[Layer], having: str
) -> str:
    first, last = layers[0], layers[-1]
    span = f"{first.index} ({first.path}) to {last.index} ({last.path})"
    lacking = [layer.path for layer in captured if layer_matches(layer, pattern)]
    if not lacking:
        return f"no captured layer matches '{pattern}'; there are {span}"
    return (
        f"no layer with {having} matches '{pattern}', which is {list_some(lacking, 1)}; "
        f"the captured ones with {having} are {len(layers)}, from {span}"
    )
