"""Which variants are controls of others, as LoRAs or cuts tell: the same, random or in part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from attn.schema import Intervention, Lora

Stack = tuple[Lora, ...]
Cuts = tuple[Intervention, ...]
Kind = Literal["null", "alone", "without", "random"]
ALONE: Kind = "alone"
WITHOUT: Kind = "without"
NULL: Kind = "null"
RANDOM: Kind = "random"


@dataclass(frozen=True)
class Role:
    """What a variant is to another.

    Attributes:
        kind: `null` has random changes in place of the other's; `alone` has one part of it only,
            `without` all but that part; `random` cuts as much of something else.
        whole: index of the other variant.
        part: patterns of the modules, or the name of the LoRA that is left out; empty of `null`.
        is_stack: whether it is a stack, or a whole LoRA, that is of interest by itself, too.
    """

    kind: Kind
    whole: int
    part: str = ""
    is_stack: bool = False


def find_roles(stacks: Sequence[Stack]) -> list[Role | None]:
    """Return what each variant is to another; None is a variant in its own right.

    Args:
        stacks: the LoRAs of each variant.
    """
    keys = [frozenset(map(_key, stack)) for stack in stacks]

    def find(stack: Stack) -> int | None:
        wanted = frozenset(map(_key, stack))
        return next((at for at, key in enumerate(keys) if key == wanted), None)

    return [next(_roles(stack, stacks, find), None) for stack in stacks]


def find_cut_roles(variants: Sequence[Cuts]) -> list[Role | None]:
    """Return which variants cut something random in place of what another cuts.

    Args:
        variants: the interventions of each.
    """
    roles: list[Role | None] = []
    for cuts in variants:
        named = tuple(replace(cut, target=replace(cut.target, random=None)) for cut in cuts)
        is_control = named != cuts and named in variants
        roles.append(Role(RANDOM, variants.index(named)) if is_control else None)
    return roles


def _roles(
    stack: Stack, stacks: Sequence[Stack], find: Callable[[Stack], int | None]
) -> Iterator[Role]:
    if stack and all(lora.null is not None for lora in stack):
        whole = find(tuple(replace(lora, null=None) for lora in stack))
        if whole is not None:
            yield Role(NULL, whole)
    restricted = [lora for lora in stack if lora.modules]
    if len(restricted) == 1 and len(stack) == 1:
        whole = find((replace(stack[0], modules=()),))
        taken = [pattern.startswith("!") for pattern in stack[0].modules]
        if whole is not None and len(set(taken)) == 1:
            names = (pattern.removeprefix("!") for pattern in stack[0].modules)
            yield Role(WITHOUT if taken[0] else ALONE, whole, ",".join(names))
    for at, other in enumerate(stacks):
        missing = [lora for lora in other if _key(lora) not in set(map(_key, stack))]
        if len(missing) == 1 and len(stack) == len(other) - 1 > 0:
            yield Role(WITHOUT, at, stem(missing[0]), is_stack=True)


def stem(lora: Lora) -> str:
    """Return the name of a LoRA's file, with the modules that it is restricted to."""
    return f"{Path(lora.path).name.removesuffix('.safetensors')}{lora.selection}"


def _key(lora: Lora) -> Lora:
    """Return what is the same for the same LoRA, wherever it lies."""
    return lora if lora.sha256 is None else replace(lora, path="")
