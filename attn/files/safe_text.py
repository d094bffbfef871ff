"""Text from outside, made safe to print on a terminal, to keep in a file, to open in a spreadsheet.

Prompts, names of files and modules, and what a plugin or a checkpoint says of itself may hold
characters that steer a terminal, turn the reading direction around, or begin a formula.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache

_STEERING = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls of ASCII and Latin-1, but for tab and new line
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks of the writing direction
    "\u2028\u2029"  # separators that some programs take for a new line
    "\ud800-\udfff"  # halves of a pair, as in names of files that are not UTF-8
    "]"
)
_FORMULA = re.compile(r"[=+\-@\t\r].")


def visible(text: str) -> str:
    r"""Return text with the characters that steer spelled as in JSON: `\u001b`, `\u202e`.

    Tabs and new lines stay. Text that is JSON already stays the same JSON.
    """
    return _STEERING.sub(lambda match: json.dumps(match[0])[1:-1], text)


def csv_cell(value: object) -> object:
    """Return a value for a cell of a CSV file.

    Text is `visible`, and gets an apostrophe in front where a spreadsheet would take it for a
    formula: if it begins with `=`, `+`, `-`, `@`, a tab or a carriage return and goes on. Other
    values stay.

    Source: OWASP, "CSV injection"; unlike there, a sign that stands alone stays as it is.
    """
    return _text_cell(value) if isinstance(value, str) else value


@lru_cache(maxsize=2**12)  # tables repeat words and segments in every row
def _text_cell(text: str) -> str:
    formula = "'" if _FORMULA.match(text) else ""
    return formula + visible(text)
