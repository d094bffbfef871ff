"""Text from outside, made safe to print on a terminal, to keep in a file, to open in a spreadsheet.

Prompts, names of files and modules, and what a plugin or a checkpoint says of itself may hold
characters that steer a terminal, turn the reading direction around, or begin a formula.
"""

from __future__ import annotations

import re
from functools import lru_cache

from attn.visible import visible

__all__ = ["csv_cell", "visible"]

_FORMULA = re.compile(r"[=+\-@\t\r].")


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
