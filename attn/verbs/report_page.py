"""`report.html`: what the numbers say, the figures that matter, and everything else folded.

The page is one file: figures are in it, nothing is fetched, and no script runs. Every sentence is
made from a table and leads to it, on the same page. The same results give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup, escape

from attn.analysis.tables import Columns, count_rows, first_rows
from attn.files.disk import as_utf8, reported
from attn.files.safe_text import visible
from attn.verbs.html import render
from attn.verbs.report_images import data_uri
from attn.wording import digits

REPORT = "report.html"
SHOWN = 24
"""Rows of a table on the page; its file has all."""
MOST_BYTES = 4 * 2**20
"""Bytes of figures that are in a page, the first ones; further figures are files beside it."""
FIGURES = (".png", ".gif")
"""Endings of the names of figures."""


@dataclass(frozen=True)
class Sentence:
    """A clause of the first paragraph, with its full stop, comma or semicolon.

    Attributes:
        text: as it is read.
        href: the table or figure that it was made from, as `Section` names it; empty for none.
    """

    text: str
    href: str = ""


@dataclass(frozen=True)
class Section:
    """Figures and tables below a title.

    Attributes:
        title: of the section.
        figures: captions by path, relative to the page's folder; PNG or GIF.
        tables: by path of their CSV, relative to the page's folder.
        is_open: whether it stands open; others are folded.
    """

    title: str
    figures: Mapping[str, str]
    tables: Mapping[str, Columns]
    is_open: bool = False


@dataclass(frozen=True)
class ReportPage:
    """What the page says.

    Attributes:
        title: what was generated: the prompt.
        subtitle: what was compared or analysed, of how many images.
        paragraph: the answer.
        sections: in the order of the page.
        notes: what sets the runs apart or limits what is said, one line each.
    """

    title: str
    subtitle: str
    paragraph: Sequence[Sentence]
    sections: Sequence[Section]
    notes: Sequence[str] = ()


def plain(paragraph: Sequence[Sentence]) -> str:
    """Return a paragraph as plain text, as a terminal shows it."""
    return " ".join(sentence.text for sentence in paragraph)


def write_report(page: ReportPage, folder: Path) -> str:
    """Write `report.html` beside the files that it shows.

    Args:
        page: what it says.
        folder: with the figures that its sections name.

    Returns:
        The name of the file.

    Raises:
        ValueError: a sentence leads to a table or figure that no section has.
        TraceError: it cannot be written.
    """
    names = {name for section in page.sections for name in (*section.figures, *section.tables)}
    lost = [sentence for sentence in page.paragraph if sentence.href and sentence.href not in names]
    if lost:
        raise ValueError(f"no section has {lost[0].href}, which '{lost[0].text}' was made from")
    room = MOST_BYTES
    sections = []
    for section in page.sections:
        figures = list(_laid_out_figures(section, folder, room))
        room -= sum(len(figure["data"]) for figure in figures)
        sections.append(_laid_out(section) | {"figures": figures})
    text = render("report.html", page=page, sections=sections)
    with reported(folder / REPORT):
        (folder / REPORT).write_bytes(as_utf8(text).encode())
    return REPORT


def _laid_out_figures(section: Section, folder: Path, room: int) -> Iterator[dict[str, Any]]:
    """Yield what the template shows of figures; from where `room` is used up, only their names."""
    for name, caption in section.figures.items():
        data = data_uri(folder / name, is_open=section.is_open) if room > 0 else ""
        room -= len(data)
        yield {
            "name": name,
            "url": quote(name),
            "caption": caption,
            "data": data if room >= 0 else "",
        }


def _laid_out(section: Section) -> dict[str, Any]:
    """Return what the template shows of a section, but for its figures."""
    return {
        "title": section.title,
        "is_open": section.is_open,
        "tables": [
            {
                "name": name,
                "url": quote(name),
                "columns": list(table),
                "body": _body(table),
                "more": max(0, count_rows(table) - SHOWN),
            }
            for name, table in section.tables.items()
        ],
    }


def _body(table: Columns) -> Markup:
    """Return the first rows as HTML: by columns, in which texts repeat, each escaped once."""
    columns = [_cells(column.tolist()) for column in first_rows(table, SHOWN).values()]
    rows = map("</td><td>".join, zip(*columns, strict=True))
    return Markup("".join(f"<tr><td>{row}</td></tr>\n" for row in rows))


def _cells(values: Sequence[Any]) -> list[str]:
    words = {value for value in values if isinstance(value, str)}
    texts = {word: str(escape(visible(word))) for word in words}
    return [texts[value] if isinstance(value, str) else _number(value) for value in values]


def _number(value: Any) -> str:
    """Return what a cell shows; what is unknown is empty."""
    if isinstance(value, float | np.floating):
        return digits(float(value)) if isfinite(value) else ""
    if isinstance(value, int):
        return str(value)
    return "" if value is None else str(escape(value))
