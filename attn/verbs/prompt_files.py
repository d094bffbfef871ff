"""Lists of prompts in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attn.errors import UsageError
from attn.verbs.parsing import require_characters


def read_prompts(path: Path) -> tuple[str, ...]:
    """Read a list of prompts.

    Args:
        path: `.json` (a list), `.jsonl` (one value a line) or `.txt` (one prompt a line); a value
            is a string, or an object with the field `prompt`.

    Raises:
        UsageError: unreadable, not such a list, or empty; with the place of the first bad entry.
    """
    from attn.files.outside import read_text

    text = read_text(path, error=UsageError, hint="Give a list of prompts in UTF-8.")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    ending = path.suffix.lower()
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if ending == ".txt":
        prompts = [
            require_characters(f"{path}, line {number}", line.strip()) for number, line in lines
        ]
    elif ending == ".jsonl":
        prompts = [
            _prompt(_parse(line, f"{path}, line {number}"), f"{path}, line {number}")
            for number, line in lines
        ]
    elif ending == ".json":
        values = _parse(text, str(path))
        if not isinstance(values, list):
            raise UsageError(f"{path} is not a list of prompts: it holds a JSON {_kind(values)}")
        prompts = [_prompt(value, f"{path}, entry {index}") for index, value in enumerate(values)]
    else:
        raise UsageError(
            f"cannot tell the format of {path}: expected a name that ends in .json, .jsonl or .txt"
        )
    if not prompts:
        raise UsageError(f"{path} holds no prompt")
    return tuple(prompts)


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:  # nested beyond all reason
        raise UsageError(f"{where} is not JSON: {exc}") from exc


def _prompt(value: Any, where: str) -> str:
    if isinstance(value, dict):
        extra = sorted(set(value) - {"prompt"})
        if extra and "prompt" in value:
            raise UsageError(f"{where}: unknown field '{extra[0]}'; an entry has only 'prompt'")
        if "prompt" not in value:
            raise UsageError(f"{where}: an object without the field 'prompt'")
        value = value["prompt"]
    if not isinstance(value, str):
        raise UsageError(
            f"{where}: expected a string, or an object with the field 'prompt'; "
            f"got a JSON {_kind(value)}"
        )
    return require_characters(where, value)


def _kind(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
