"""The modules of the page joined into one script, and its style sheets into one sheet."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

STATIC = Path(__file__).parent / "static"
ENTRY, WORKER = "main.js", "sums/worker.js"
_IMPORT = re.compile(r'^import (\{[^}]*\}) from "(\.[^"]*)";$', re.M)
_EXPORT = re.compile(r"^export (?:async )?(?:function|class|const) (\w+)", re.M)
_EXPORTS = re.compile(r"export ?\{([^}]*)\};?\s*$")
_COMMENT = re.compile(r"^[ \t]*/\*\*(?:(?!\*/).)*\*/\n", re.M | re.S)
_SHEET = re.compile(r'<link rel="stylesheet" href="static/([^"]+)">')


def join_script(entry: str = ENTRY) -> str:
    """Return a module and all that it imports as one script without imports.

    Each module becomes a function that returns what it exports, called after those that it needs.
    """
    ordered: list[str] = []
    _order(entry, ordered, ())
    modules = "\n".join(_wrap(name, _read(name)) for name in ordered)
    return f"const modules = (globalThis.attn = {{}});\n{modules}"


def join_styles() -> str:
    """Return the style sheets of the page in the order in which it loads them."""
    page = (STATIC / "index.html").read_text("utf-8")
    return "".join((STATIC / name).read_text("utf-8") for name in _SHEET.findall(page))


def page_body() -> str:
    """Return what stands in the page before a script fills it."""
    page = (STATIC / "index.html").read_text("utf-8")
    return page.partition("<body>")[2].partition("</body>")[0]


def _order(name: str, ordered: list[str], above: tuple[str, ...]) -> None:
    """Put a module behind those that it imports.

    Raises:
        ValueError: modules import each other, which one script cannot.
    """
    if name in above:
        raise ValueError(f"modules import each other: {' -> '.join((*above, name))}")
    if name in ordered:
        return
    for _, path in _IMPORT.findall(_read(name)):
        _order(_resolved(path, name), ordered, (*above, name))
    ordered.append(name)


def _wrap(name: str, text: str) -> str:
    names = _EXPORT.findall(text)
    pairs = [f"{exported}" for exported in names]
    if listed := _EXPORTS.search(text):
        for entry in listed[1].split(","):
            own, _, other = entry.strip().partition(" as ")
            pairs.append(f"{other or own}: {own}")
        text = text[: listed.start()]
    text = _IMPORT.sub(lambda line: _taken(line, name), text)
    text = re.sub(r"^export (?=(?:async )?(?:function|class|const) )", "", text, flags=re.M)
    text = _COMMENT.sub("", text)
    return f'modules["{name}"] = (() => {{\n{text}\nreturn {{ {", ".join(pairs)} }};\n}})();'


def _taken(line: re.Match[str], by: str) -> str:
    names = re.sub(r"(\w+) as (\w+)", r"\1: \2", line[1])
    return f'const {names} = modules["{_resolved(line[2], by)}"];'


def _resolved(path: str, by: str) -> str:
    """Return the name of a module that another one imports."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(by), path))


def _read(name: str) -> str:
    return (STATIC / name).read_text("utf-8")
