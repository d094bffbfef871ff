"""Text of which every character is seen: what steers a terminal is spelled out."""

from __future__ import annotations

import json
import re

_STEERING = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls of ASCII and Latin-1, but for tab and new line
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks of the writing direction
    "\u2028\u2029"  # separators that some programs take for a new line
    "\ud800-\udfff"  # halves of a pair, as in names of files that are not UTF-8
    "]"
)


def visible(text: str) -> str:
    r"""Return text with the characters that steer spelled as in JSON: `\u001b`, `\u202e`.

    Tabs and new lines stay. Text that is JSON already stays the same JSON.
    """
    return _STEERING.sub(lambda match: json.dumps(match[0])[1:-1], text)
