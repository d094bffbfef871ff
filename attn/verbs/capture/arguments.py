"""Check the arguments of a capture before time is spent, each under its own name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from numbers import Real
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from attn.engine.plan import Keep
from attn.errors import ModelError, UsageError
from attn.options import parse_options
from attn.verbs.inputs import as_tuple, parse_bytes, require_characters

if TYPE_CHECKING:
    from attn.backends import Backend
    from attn.schema import Lora

T = TypeVar("T")

BRANCHES = {"cond": ("cond",), "uncond": ("uncond",), "both": ("cond", "uncond")}
LEVELS = ("mass", "means", "maps", "heads", "factors")
DTYPES = ("auto", "float32", "bfloat16", "float16")
OFFLOADS = ("none", "model")
NEGATIVE = (
    "worst quality, low quality, lowers, low details, bad quality, poorly drawn, bad anatomy, "
    "multiple views, bad hands, blurry, artist sign, weibo username"
)
"""What `default` stands for as a negative prompt: that of LoRA Attention Analyzer, word by word."""
SKETCH = "sketch"
"""Option of the backends that read a drawing, which `--sketch` fills."""
SHOWN = 40
"""Longest piece of a value in a message."""


def backend_options(kind: type[Any], name: str, settings: Mapping[str, str]) -> Any:
    """Return the options of a backend.

    Args:
        kind: its dataclass of options.
        name: of the backend.
        settings: text by option name.

    Raises:
        UsageError: an option is unknown, or a value is not of its type.
    """
    if SKETCH in settings and SKETCH not in {one.name for one in fields(kind)}:
        from attn.backends.plugins.registry import takers

        able = (f"--backend {one.spec.name} does: {one.spec.summary}" for one in takers("drawings"))
        raise UsageError(
            f"backend {name} reads no drawing, so --sketch would have no effect; {'; '.join(able)}"
        )
    return parse_options(kind, settings, f"backend {name}")


def complete_loras(family: Backend, loras: Sequence[Lora]) -> tuple[Lora, ...]:
    """Return LoRAs as a backend completes them; see `Backend.complete_loras`."""
    from attn.backends.plugins.registry import takers
    from attn.backends.types import NoLorasError

    try:
        return family.complete_loras(loras)
    except NoLorasError as error:
        names = ", ".join(one.spec.name for one in takers("loras"))
        raise ModelError(f"{error} ({names})") from None


def optional(check: Callable[[str, Any], T], name: str, value: Any) -> T | None:
    """Return None as it is, anything else checked."""
    return None if value is None else check(name, value)


def text(name: str, value: Any) -> str:
    """Return a text that a file can hold."""
    if not isinstance(value, str):
        raise _wrong(name, "a text", value)
    return require_characters(name, value)


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Return one text or several."""
    if isinstance(value, str):
        return (text(name, value),)
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise _wrong(name, "a text or several", value)
    return tuple(text(f"{name} {place}", one) for place, one in enumerate(value))


def negative(name: str, value: Any) -> str:
    """Return a negative prompt, of which `default` names a common one."""
    return NEGATIVE if value == "default" else text(name, value)


def whole(name: str, value: Any) -> int:
    """Return a whole number of any kind (numpy's too) as an int."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return index(value)
    except TypeError as error:
        raise _wrong(name, "a whole number", value) from error


def number(name: str, value: Any) -> float:
    """Return a number of any kind as a float."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _wrong(name, "a number", value)
    return float(value)


def switch(name: str, value: Any) -> bool:
    """Return a bool; anything else that counts as true is refused."""
    if not isinstance(value, bool):
        raise _wrong(name, "True or False", value)
    return value


def one_of(name: str, value: Any, known: Sequence[str]) -> Any:
    """Return one of the known names."""
    if not isinstance(value, str) or value not in known:
        raise UsageError(f"{name}: expected one of {', '.join(known)}; got '{value}'")
    return value


def seeds(value: Any) -> tuple[int, ...]:
    """Return one seed or several."""
    if isinstance(value, str | Mapping):
        raise _wrong("seed", "a whole number or several", value)
    several = isinstance(value, Iterable)
    numbers = tuple(whole("seed", one) for one in (value if several else (value,)))
    wrong = [one for one in numbers if not 0 <= one < 2**32]
    if wrong or not numbers:
        raise UsageError(f"seeds: expected numbers from 0 to 2^32 - 1; got {wrong or 'none'}")
    return numbers


def size(name: str, value: Any) -> tuple[int, int]:
    """Return (width, height)."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:  # noqa: PLR2004 - a pair
        raise _wrong(name, "(width, height) in pixels", value)
    return whole(name, value[0]), whole(name, value[1])


def batch_size(value: Any) -> int:
    """Return how many traces are generated at once."""
    if whole("batch", value) < 1:
        raise UsageError(f"batch must be at least 1; got {value}")
    return index(value)


def byte_limit(value: Any) -> int:
    """Return a number of bytes, of a number or of a text such as `8GB`."""
    return parse_bytes(value) if isinstance(value, str) else whole("budget", value)


def pairs(value: Any) -> Mapping[str, str]:
    """Return options of a backend as KEY: VALUE, both texts."""
    if not isinstance(value, Mapping):
        raise _wrong("settings", "options as {KEY: VALUE}", value)
    return {text("settings", key): text(f"settings, {key}", one) for key, one in value.items()}


def folder(name: str, value: Any) -> Path:
    """Return the path of a folder."""
    if not isinstance(value, str | Path):
        raise _wrong(name, "a path", value)
    return Path(value)


def split(name: str, value: Any) -> tuple[str, ...]:
    """Return the pieces of one text or several, each with commas between them."""
    listed = as_tuple(optional(texts, name, value))
    pieces = tuple(piece.strip() for one in listed for piece in one.split(",") if piece.strip())
    if value is not None and not pieces:
        raise UsageError(f"{name}: nothing is named; leave the option out for the default")
    return pieces


def wanted(
    *, keep: Any, keys: Any, mass: Any, blocks: Any, layers: Any, branch: Any, entropy: Any
) -> Keep:
    """Return what is to be kept."""
    return Keep(
        level=one_of("keep", keep, LEVELS),
        keys=one_of("keys", keys, ("content", "all")),
        mass=one_of("mass", mass, ("text", "full")),
        blocks=split("blocks", blocks) or None,
        layers=split("layers", layers),
        branches=BRANCHES[one_of("branch", branch, tuple(BRANCHES))],
        entropy=switch("entropy", entropy),
    )


def _wrong(name: str, expected: str, value: Any) -> UsageError:
    shown = repr(value)
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
    return UsageError(f"{name}: expected {expected}; got {shown} ({type(value).__name__})")
