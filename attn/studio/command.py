"""The command that makes the same: what the page offers to copy."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from attn.verbs.capture.options import CaptureOptions
from attn.verbs.options import Declared, declared

DEMO = "demo"


def as_command(request: Mapping[str, Any]) -> str:
    """Return `attn capture …` of a request."""
    options = {option.name: option for option in declared(CaptureOptions)}
    words = ["attn", "capture"]
    for name, value in request.items():
        if name == "model" and value == DEMO:
            continue
        words += _words(options[name], value)
    return shlex.join(words)


def _words(option: Declared, value: Any) -> Iterator[str]:
    """Yield what is typed for one option."""
    flags = option.about.flags or (f"--{option.name.replace('_', '-')}",)
    flag = min(flags, key=len)
    if option.name == "size":
        value = "x".join(map(str, value))
    if option.name == "settings":
        value = [f"{key}={text}" for key, text in value.items()]
    if value is True:
        yield flag
    elif value is not False and value is not None:
        for item in value if isinstance(value, list) else [value]:
            text = str(item)
            # a text that begins like an option is one word with its flag
            yield from [f"{max(flags, key=len)}={text}"] if text.startswith("-") else [flag, text]
