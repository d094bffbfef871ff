"""A LoRA file for people: the report of `attn lora`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from rich import filesize

from attn.cli.text import aligned
from attn.wording import count_noun, percent

if TYPE_CHECKING:
    from attn.lora import Oddity
    from attn.verbs.lora import Examined

Facts = Mapping[str, Any]

BAR = 24  # characters of the longest bar
NAMED = 3  # of an oddity so many modules are named; all are in the JSON


def lines(done: Examined) -> Iterator[str]:
    """Yield the report."""
    from attn.verbs.lora import facts

    content = facts(done)
    yield from aligned(_summary(content))
    yield from ("", *_sizes("TOWER", content["towers"]))
    yield from ("", *_sizes("TARGET", [_labelled(row) for row in content["targets"]]))
    yield from ("", *_sizes("BLOCK", _main_blocks(content["blocks"]), has_bars=True))
    if content["training"]:
        rows = [(label, plain(text)) for label, text in content["training"].items()]
        yield from ("", "what the trainer wrote:", *_indented(aligned(rows)))
    if done.lora.oddities:
        yield from ("", "odd:", *_indented(map(_odd, done.lora.oddities)))
    if done.path is not None:
        yield from ("", str(done.path), *_indented(done.files))


def plain(text: str) -> str:
    """Return text from a file on one line; what steers a terminal is spelled out on printing."""
    return " ".join(text.split())


def _summary(content: Facts) -> list[tuple[str, str]]:
    file, stored, family = content["file"], content["format"], content["family"]
    kinds, spelling = ", ".join(stored["titles"]), " and ".join(stored["spelling"])
    dtypes = " and ".join(file["dtypes"])
    rows = [
        ("file", f"{plain(file['path'])}, {filesize.decimal(file['bytes'])}, {dtypes}"),
        ("format", f"{kinds}, in the names of {spelling}"),
        *_labelled_lines("made for", [family["title"], *_indented(family["evidence"])]),
        *_labelled_lines("loadable", _loadable(stored)),
        ("rank", _counts(stored["ranks"]) or "none"),
        ("alpha", _counts(stored["alphas"]) or "none, which means the rank"),
        ("scale", _counts(stored["scales"]) or "none"),
        ("‖ΔW‖", f"{_number(content['norm'])} in {count_noun(len(content['modules']), 'module')}"),
        ("sha256", file["sha256"]),
        ("of weights", file["weights_sha256"] + _remark(content)),
    ]
    if file["modules"]:
        number = f"{len(content['modules'])} of its modules"
        rows.insert(1, ("only", f"{plain(', '.join(file['modules']))}: {number}"))
    if file["config_sha256"]:
        rows.append(("of adapter_config.json", file["config_sha256"]))
    model = content["model"]
    return rows if model is None else [*rows, ("compared", plain(model["path"]))]


def _labelled_lines(label: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    pairs = zip_longest((label,), texts, fillvalue="")
    return [(name, plain_indented(text)) for name, text in pairs]


def plain_indented(text: str) -> str:
    """Return `plain` text that keeps its indentation."""
    return " " * (len(text) - len(text.lstrip())) + plain(text)


def _loadable(stored: Facts) -> list[str]:
    """Say which backend takes the file, why none does, or that the file does not tell."""
    if stored["loadable"]:
        return [f"yes, by --backend {stored['backend']}"]
    if stored["loadable"] is None:
        return ["perhaps: its modules tell no family", "  --model MODEL says what it fits"]
    return ["no", *_indented(stored["reasons"])]


def _remark(content: Facts) -> str:
    said = content["metadata"].get("sshs_model_hash")
    is_same = isinstance(said, str) and content["file"]["weights_sha256"].startswith(said or "-")
    return ", as its trainer noted" if is_same else ""


def _counts(counts: Mapping[str, int]) -> str:
    """Spell `{"32": 700, "4": 22}` as `32 (700 modules), 4 (22)`; a single value as itself."""
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{value} ({number})" for value, number in counts.items())


def _labelled(row: Facts) -> Facts:
    """Name a target with its tower, unless that is the denoiser."""
    name = row["name"].replace("_", " ")
    return {**row, "name": name if row["tower"] == "denoiser" else f"{row['tower']}: {name}"}


def _main_blocks(rows: Sequence[Facts]) -> list[Facts]:
    """Return the blocks of the denoiser, or of all towers if it has none."""
    main = [row for row in rows if row["tower"] == "denoiser"]
    return [{**row, "name": row["block"]} for row in main or rows]


def _sizes(title: str, rows: Sequence[Facts], *, has_bars: bool = False) -> list[str]:
    """Return a table of norms; RELATIVE where base weights are known."""
    is_relative = any(row["relative"] is not None for row in rows)
    highest = max((row["norm"] or 0.0 for row in rows), default=0.0)
    table = [[title, "MODULES", "‖ΔW‖", "SHARE", "‖ΔW‖/‖W‖", ""]]
    for row in rows:
        share, relative = (_percent(row[name]) for name in ("share", "relative"))
        bar = "█" * round(BAR * (row["norm"] or 0.0) / highest) if highest else ""
        cells = [row["name"], str(row["modules"]), _number(row["norm"]), share, relative, bar]
        table.append(cells)
    kept = [0, 1, 2, 3, *([4] if is_relative else []), *([5] if has_bars else [])]
    return aligned([tuple(cells[column] for column in kept) for cells in table])


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "" if value is None else percent(value)


def _odd(oddity: Oddity) -> str:
    names = ", ".join(map(plain, oddity.names[:NAMED]))
    more = ", …" if len(oddity.names) > NAMED else ""
    is_named = names and names not in oddity.message
    return f"{plain(oddity.message)}{f' ({names}{more})' if is_named else ''}"


def _indented(texts: Iterable[str]) -> list[str]:
    return [f"  {text}" for text in texts]
