"""What two traces have in common, and so what of them can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from attn.analysis.compare.differences import Difference, find_differences
from attn.analysis.words.select import select_steps, select_tower
from attn.analysis.words.selection import BLOCK
from attn.errors import AnalysisError
from attn.schema import Layer, Manifest

Signature = tuple[int, str, str, int]


@dataclass(frozen=True)
class Side:
    """What is read of one of two traces: indices of layers and steps; None is every step."""

    layers: tuple[int, ...]
    steps: tuple[int, ...] | None


@dataclass(frozen=True)
class Agreement:
    """What can be compared.

    Attributes:
        base: what is read of the base.
        variant: what is read of the variant.
        by_layer: whether the two have the same layers, in the same order.
        by_step: whether the two have the same steps.
        together: whether their text segments differ, so that all text is taken as one segment.
        noise: what decides with which noise they began, and differs; empty if it was the same.
        notes: what the reader should know.
        differences: settings in which the generations differ.
    """

    base: Side
    variant: Side
    by_layer: bool
    by_step: bool
    together: bool
    noise: tuple[str, ...]
    notes: tuple[str, ...]
    differences: tuple[Difference, ...] = ()


def agree(
    base: Manifest, variant: Manifest, branch: str, layers: Sequence[str], steps: Sequence[str]
) -> Agreement:
    """Work out what of two traces is compared.

    Args:
        base: the one.
        variant: the other.
        branch: guidance row.
        layers: patterns of layers; empty is the first tower.
        steps: ranges of steps; empty is every step.

    Raises:
        AnalysisError: there is nothing to compare: no finished step, no text, no such branch.
    """
    sides = (base, variant)
    for side in sides:
        _require(side, branch)
    of_layers, by_layer = _common_layers(sides, layers)
    of_steps, by_step = _common_steps(sides, steps)
    segments = [{token.segment for token in side.tokens[branch]} for side in sides]
    first, second = (
        Side(tuple(layer.index for layer in selected), step)
        for selected, step in zip(of_layers, of_steps, strict=True)
    )
    together = segments[0] != segments[1]
    notes = (
        *_layer_notes(sides, of_layers, by_layer),
        *_step_notes(sides, by_step),
        *_grid_notes(of_layers),
        *_kind_notes(of_layers),
        *_text_notes(segments, together),
    )
    noise = tuple(noise_differences(base, variant))
    differences = find_differences(base, variant)
    return Agreement(first, second, by_layer, by_step, together, noise, notes, differences)


def noise_differences(base: Manifest, variant: Manifest) -> list[str]:
    """List the differences between two generations that change their starting noise.

    Equal hashes of what the denoiser was given first prove it, at one size: at another the same
    numbers lie elsewhere. Without hashes, or where the sampler differs, which scales the noise, it
    depends on the family (the shape of its latents, and who draws them), the size, the number of
    pictures, the dtype, the version of torch, and the device.
    """
    hashes = [side.identity.get("noise") for side in (base, variant)]
    sizes = [
        f"{side.request.width or '?'}x{side.request.height or '?'}" for side in (base, variant)
    ]
    if all(hashes) and hashes[0] == hashes[1]:
        return [] if sizes[0] == sizes[1] else [f"size {sizes[0]} and {sizes[1]}"]
    samplers = [(side.request.scheduler, side.request.steps) for side in (base, variant)]
    if all(hashes) and samplers[0] == samplers[1]:
        return [f"first input of the denoiser, seed {base.request.seed}"]
    facts = [
        {
            "backend": side.backend,
            "seed": side.request.seed,
            "size": size,
            "images": side.samples,
            "dtype": side.model.get("dtype"),
            "torch": side.environment.get("torch"),
            "device": side.environment.get("device", "").partition(",")[0],
        }
        for side, size in zip((base, variant), sizes, strict=True)
    ]
    return [
        f"{name} {first} and {facts[1][name]}"
        for name, first in facts[0].items()
        if first != facts[1][name]
    ]


def _require(side: Manifest, branch: str) -> None:
    name = f"'{side.request.prompt}' (seed {side.request.seed})"
    if not side.steps:
        raise AnalysisError(f"the trace of {name} has no finished step: capture it again")
    if branch not in side.branches:
        listed = ", ".join(side.branches)
        raise AnalysisError(f"the trace of {name} has no branch '{branch}'; it has {listed}")
    if not any(BLOCK in layer.blocks for layer in side.layers):
        raise AnalysisError(f"the trace of {name} has no {BLOCK}: capture with --blocks {BLOCK}")


def _signature(layer: Layer) -> Signature:
    return layer.index, layer.tower, layer.path, layer.num_heads


def _common_layers(
    sides: Sequence[Manifest], patterns: Sequence[str]
) -> tuple[list[tuple[Layer, ...]], bool]:
    """Return the layers of both sides, and whether they are the same.

    If one side has only some of the other's, the others are left out.
    """
    selected = [
        select_tower(
            [layer for layer in side.layers if BLOCK in layer.blocks],
            patterns,
            captured=side.layers,
        )
        for side in sides
    ]
    signatures = [{_signature(layer) for layer in layers} for layers in selected]
    common = signatures[0] & signatures[1]
    if common and common in signatures:
        selected = [
            tuple(layer for layer in layers if _signature(layer) in common) for layers in selected
        ]
        return selected, True
    return selected, False


def _common_steps(
    sides: Sequence[Manifest], ranges: Sequence[str]
) -> tuple[list[tuple[int, ...] | None], bool]:
    """Return the steps of both sides, and whether they are the same.

    A side that was interrupted is compared in the steps that it has.
    """
    requested = [select_steps(side.steps, ranges) for side in sides]
    if any(side.status == "partial" for side in sides):
        common = tuple(step for step in requested[0] if step in requested[1])
        if not common or sides[0].request.steps != sides[1].request.steps:
            raise AnalysisError(
                "a trace was interrupted, and what it has of its "
                f"{sides[0].request.steps} and {sides[1].request.steps} steps is not in both: "
                "finish it with --resume"
            )
        requested = [common, common]
    schedules = [[step for step in side.steps if step.index in requested[0]] for side in sides]
    is_whole = not ranges and all(side.status == "complete" for side in sides)
    steps = [None if is_whole else step for step in requested]
    return steps, requested[0] == requested[1] and schedules[0] == schedules[1]


def _layer_notes(
    sides: Sequence[Manifest], selected: Sequence[tuple[Layer, ...]], by_layer: bool
) -> Iterator[str]:
    if not by_layer:
        counts = " and ".join(str(len(layers)) for layers in selected)
        pairs = zip(*selected, strict=False)  # none of them has only some of the other's
        first = next(pair for pair in pairs if len({_signature(layer) for layer in pair}) > 1)
        such = " and ".join(
            f"{layer.index} {layer.path} of {layer.num_heads} heads" for layer in first
        )
        yield (
            f"the layers differ ({counts}, first {such}): compared over all layers only, not layer "
            "by layer"
        )
    elif _having(sides[0]) != _having(sides[1]):
        counts = " and ".join(str(_having(side)) for side in sides)
        yield f"only layers that both traces have are compared: {len(selected[0])} of {counts}"


def _having(side: Manifest) -> int:
    """Return how many layers have what is compared; others were kept for something else."""
    return sum(BLOCK in layer.blocks for layer in side.layers)


def _step_notes(sides: Sequence[Manifest], by_step: bool) -> Iterator[str]:
    for side in sides:
        if side.status == "partial":
            yield (
                f"the capture of seed {side.request.seed} was interrupted: its first "
                f"{len(side.steps)} steps are compared with the same ones"
            )
    if not by_step:
        counts = [len(side.steps) for side in sides]
        if counts[0] != counts[1]:
            what = f"the numbers of steps differ ({counts[0]} and {counts[1]})"
        else:
            what = "the steps have other timesteps"
        yield f"{what}: compared as means over steps only, not step by step"


def _grid_notes(selected: Sequence[tuple[Layer, ...]]) -> Iterator[str]:
    finest = [
        max((layer.plane or (1, 1) for layer in layers), key=lambda grid: grid[0] * grid[1])
        for layers in selected
    ]
    if finest[0] != finest[1]:
        base, variant = (f"{rows}x{columns}" for rows, columns in finest)
        yield f"the grids differ ({base} and {variant}): the variant's maps are resampled by area"
    frames = [max(layer.frames for layer in layers) for layers in selected]
    if max(frames) > 1:
        base, variant = map(str, frames)
        each = base if base == variant else f"{base} and {variant}"
        yield (
            f"maps are means over the {each} frames of the videos' latents, and of images the "
            "middle frames are compared"
        )


def _kind_notes(selected: Sequence[tuple[Layer, ...]]) -> Iterator[str]:
    kinds = [sorted({layer.kind for layer in layers}) for layers in selected]
    if kinds[0] != kinds[1]:
        base, variant = (", ".join(names) for names in kinds)
        yield (
            f"the kinds of attention differ ({base} and {variant}): joint attention is shared out "
            "among text and picture, cross attention among text alone, so mass differs for that "
            "reason too; share is of text alone in both"
        )


def _text_notes(segments: Sequence[set[str]], together: bool) -> Iterator[str]:
    if together:
        base, variant = (", ".join(sorted(names)) for names in segments)
        yield (
            f"the text segments differ ({base} and {variant}): compared as one, called 'text'; a "
            "word read by two encoders has the sum of both"
        )
