"""Modules of a stranger's model: those that are watched, what is around them, and what they say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from attn.engine.heads import say_module
from attn.errors import UsageError
from attn.wording import count_noun, list_some


def choose_modules(
    model: nn.Module, layers: str | Sequence[str] | None, option: str = "layers"
) -> dict[str, nn.Module]:
    """Return the modules that globs name, by path; None is all.

    Args:
        model: whose modules they are.
        layers: globs of paths.
        option: what an error calls them.

    Raises:
        UsageError: a glob matches no module.
    """
    modules = dict(model.named_modules())
    if layers is None:
        return modules
    chosen: dict[str, nn.Module] = {}
    for pattern in [layers] if isinstance(layers, str) else layers:
        matches = {path: module for path, module in modules.items() if fnmatchcase(path, pattern)}
        if not matches:
            raise UsageError(
                f"{option}: no module of {type(model).__name__} matches '{pattern}'; there is "
                f"{list_some(map(say_module, modules), 4)}"
            )
        chosen |= matches
    return chosen


def without_kernels(modules: Iterable[str], seen: Set[str]) -> list[str]:
    """Return the paths in and around which no kernel ran, without those inside of others."""

    def is_in(inner: str, outer: str) -> bool:
        return not outer or f"{inner}.".startswith(f"{outer}.")

    paths = list(modules)
    outermost = [
        path for path in paths if not any(path != other and is_in(path, other) for other in paths)
    ]
    return [
        path
        for path in outermost
        if not any(is_in(path, other) or is_in(other, path) for other in seen)
    ]


def find_unseen(model: nn.Module, modules: Mapping[str, nn.Module], seen: Set[str]) -> list[str]:
    """Return what globs match but runs no kernel, with its class; nothing where all is watched."""
    if len(modules) == sum(1 for _ in model.modules()):
        return []
    return [f"{path} ({type(modules[path]).__name__})" for path in without_kernels(modules, seen)]


def modules_around(model: nn.Module, modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return modules and all that they are in, the model itself first."""
    names = {""} | {
        ".".join(parts[:count])
        for parts in (path.split(".") for path in modules)
        for count in range(len(parts) + 1)
    }
    return {path: module for path, module in model.named_modules() if path in names}


def find_encoder(model: nn.Module) -> str | None:
    """Return the path of the encoder of an encoder-decoder of transformers."""
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return None
    find: Any = getattr(model, "get_encoder", None)
    encoder = find() if callable(find) else None
    paths = [path for path, module in model.named_modules() if module is encoder]
    return f"{paths[0]}." if paths else None


def find_ends(model: nn.Module) -> tuple[tuple[int, ...], int | None]:
    """Return the ids that end a text, and that of padding, as a model of transformers has them."""
    settings = getattr(model, "generation_config", None)
    ends = getattr(settings, "eos_token_id", None)
    several = () if ends is None else (ends,) if isinstance(ends, int) else tuple(ends)
    return several, getattr(settings, "pad_token_id", None)


def say_outside(path: str) -> str:
    """Say why attention that ran outside of a forward belongs to no step."""
    return (
        f"{say_module(path)} ran outside of a forward of the tapped model, so it "
        "belongs to no step; call the tapped model, or tap what is called"
    )


def say_threads(model: nn.Module) -> str:
    """Say that two threads call a model at once."""
    return (
        f"two threads call the tapped {type(model).__name__} at once, so its attention cannot be "
        "told apart; let one wait for the other, or tap a copy in each"
    )


def say_absence(*, is_over: bool) -> str:
    """Say why there is no trace."""
    if is_over:
        return "there is no trace: no forward of the tapped model ended without an error"
    return "the trace is ready after the `with` block"


def say_nothing(model: nn.Module, modules: Mapping[str, nn.Module], forwards: int) -> str:
    """Say why nothing was recorded in a block."""
    name = type(model).__name__
    if not forwards:
        return f"no attention kernel ran in the tapped modules: {name} was not called in the block"
    shown = list(map(say_module, modules))[:3]
    return (
        f"no attention kernel ran in the tapped modules ({', '.join(shown)}, "
        f"{len(modules)} in all) in {count_noun(forwards, 'forward')} of {name}: they compute "
        "their attention without torch's scaled_dot_product_attention or a softmax that multiplies "
        "values (over the axis k, where axes= says which that is), or are others; attn.tap(model) "
        "without globs finds those that do"
    )


def say_warnings(
    assumed: Set[str],
    left_out: Set[str],
    pieces: Set[str],
    unseen: Sequence[str],
    *,
    is_sorted: bool,
    is_guessed: bool,
    is_rewritten: bool,
) -> tuple[str, ...]:
    """Say what a trace had to assume or leave out.

    Args:
        assumed: modules whose axes are assumed.
        left_out: modules that attend in other rows than those of the batch.
        pieces: modules in which each row of the batch attends in pieces.
        unseen: modules that were asked for, but run no kernel.
        is_sorted: whether the rows of the batch took each other's places.
        is_guessed: whether several forwards read the prompt, and nothing says where it ends.
        is_rewritten: whether forwards read different tokens at the same positions.
    """
    warnings = []
    if assumed:
        warnings.append(
            f"{len(assumed)} modules compute their softmax in the open, such as "
            f"{say_module(min(assumed))}, and nothing says what its axes are (as many heads as "
            "queries are the same in both orders): batch, head, query, key (axes='bhqk') are "
            "assumed; name them if they are others, such as axes='bqhk'"
        )
    if left_out:
        warnings.append(
            f"{len(left_out)} modules attend in other rows than those of the batch, such "
            f"as {say_module(min(left_out))} (a picture in pieces?), and are left out"
        )
    if pieces:
        warnings.append(
            f"{len(pieces)} modules attend in pieces of each row of the batch (windows of a "
            f"picture, frames), such as {say_module(min(pieces))}: their queries are those of all "
            "pieces, one after the other as the model has them, their keys the positions inside a "
            "piece"
        )
    if unseen:
        warnings.append(
            f"{len(unseen)} modules that layers= matches ran no attention kernel and are left out: "
            f"{', '.join(unseen[:3])}; attention without a softmax (linear attention) has no "
            "probabilities to record"
        )
    if is_sorted:
        warnings.append(
            "the rows of the batch took each other's places between forwards, as beams do: "
            "each sample is one of those at the end, followed back through the steps; what "
            "generate returns may be a beam that ended before"
        )
    if is_guessed:
        warnings.append(
            "the prompt was read in several forwards, and nothing says where it ends: the first "
            "forwards that read several positions each are taken for it; name segments= if it "
            "ends elsewhere"
        )
    if is_rewritten:
        warnings.append(
            "forwards read different tokens at the same positions (several texts of one length?): "
            "each is a step, and the tokens of the trace are those of the last; use one tap for "
            "each text"
        )
    return tuple(warnings)
