"""What a comparison found, for a terminal and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite
from textwrap import wrap as wrapped
from typing import TYPE_CHECKING, Any

from attn.cli.plan import describe
from attn.cli.text import aligned, listed_files
from attn.wording import count_noun, percent
from attn.words import fold, is_content

if TYPE_CHECKING:
    from pandas import DataFrame

    from attn.verbs.compare.compared import Compared

ALL = "tables/mass.csv has all"
WIDTH = 100
"""Letters of a line of the answer."""
SHOWN = 5
"""So many words are shown, content words of largest change; the tables have all."""


def as_json(command: str, done: Compared) -> str:
    """Return one JSON object."""
    answer: dict[str, Any] = {
        "command": command,
        "status": "planned" if done.plans else "complete",
        "path": str(done.path),
        "warnings": list(done.warnings),
        "base": done.base,
        "variants": [_variant(done, name) for name in done.variants],
        "answer": done.answer,
        "controls": dict(done.controls),
        "files": list(done.files),
    }
    if done.plans:
        answer["predicted_bytes"] = done.predicted_bytes
    return json.dumps(answer, indent=2, ensure_ascii=False)


def _variant(done: Compared, name: str) -> dict[str, Any]:
    """Return what JSON says of a variant: its differences as in `comparison.json`."""
    from dataclasses import asdict

    differences = [asdict(entry) for entry in done.differences.get(name, ())]
    return {"name": name, "pairs": done.variants[name], "differences": differences}


def as_text(done: Compared) -> Iterator[str]:
    """Yield what changed most, and where the results are; of a dry run, what would be made."""
    if done.plans:
        yield describe(done.plans[0])
        runs = count_noun(len(done.plans), "run")
        yield (
            f"{runs} ({', '.join([done.base, *done.variants])}): {_bytes(done)} of attention; "
            "images, tables and figures come on top"
        )
        return
    if done.answer:
        yield from wrapped(done.answer, WIDTH)
        yield ""
    for name, pairs in done.variants.items():
        if name in done.controls:
            continue
        yield f"{name} against {done.base}, {count_noun(pairs, 'pair')} of {done.noun}s"
        if done.differences.get(name):
            yield f"  differs in {', '.join(map(str, done.differences[name]))}"
        if "mass.csv" in done.tables:
            yield from (f"  {line}" for line in list_changes(done.tables["mass.csv"], name))
    yield from _parts(done)
    yield str(done.path)
    yield from (f"  {line}" for line in listed_files(done.files))


def _parts(done: Compared) -> Iterator[str]:
    """Yield what is there of a LoRA's effect with each of its parts alone, and without each."""
    rows = done.tables["parts.csv"].to_dict("records") if "parts.csv" in done.tables else []
    for whole in dict.fromkeys(row["whole_name"] for row in rows):
        of_whole = [row for row in rows if row["whole_name"] == whole]
        columns = dict.fromkeys((row["measure"], row["word"], row["kind"]) for row in of_whole)
        cells = {
            (row["part"], row["kohya"], row["measure"], row["kind"]): percent(row["ratio"])
            for row in of_whole
        }
        lines = [("PART", "", *(f"{word or 'image'}, {kind}" for _, word, kind in columns))]
        for part, kohya in dict.fromkeys(key[:2] for key in cells):
            values = (cells.get((part, kohya, at, kind), "-") for at, _, kind in columns)
            lines.append((part, kohya, *values))
        yield f"parts of {whole}: of its effect there is"
        yield from (f"  {line}" for line in aligned(lines))


def list_changes(masses: DataFrame, name: str) -> Iterator[str]:
    """Yield the words of one variant whose mass changed most, as lines of a table.

    Args:
        masses: `mass.csv`.
        name: of the variant.
    """
    records = masses.to_dict("records")
    every = [row for row in records if row.get("variant_name", name) == name]
    content = [row for row in every if is_content(str(row["word"]))] or every
    repeated = {fold(str(row["word"])) for row in content if row["occurrence"] > 1}
    lines: list[tuple[str, ...]] = [("WORD", "SEGMENT", "BASE", "CHANGE", "", "95 % INTERVAL")]
    for row in _shown(content):
        word, number, low = row["word"], row["occurrence"], row["low"]
        lines.append(
            (
                f"{word} ({number})" if fold(word) in repeated else word,
                str(row["segment"]),
                f"{row['base']:.3g}",
                f"{row['change']:+.3g}",
                _percent(float(row["relative_change"])),
                f"{low:+.3g} to {row['high']:+.3g}" if isfinite(low) else "-",
            )
        )
    yield from aligned(lines)
    if len(lines) - 1 < len(every):
        shown = f"{len(lines) - 1} of {len(every)} words"
        yield f"{shown}: content words, largest change of mass first; {ALL}"


def _shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of largest change; the last gives way to the word that the answer names."""
    from attn.verbs.compare.answer import leading

    shown, words = rows[:SHOWN], [row for row in rows if " " not in row["word"]]
    if not words or leading(words) in shown:
        return shown
    return [*shown[:-1], dict(leading(words))]


def _percent(part: float) -> str:
    """Return a part with three digits, in %."""
    return f"{'' if part < 0 else '+'}{percent(part)}"


def _bytes(done: Compared) -> str:
    from rich import filesize

    return filesize.decimal(done.predicted_bytes)
