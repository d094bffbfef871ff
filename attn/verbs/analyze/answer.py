"""What the tables of one trace say, in sentences: which word is where, and what takes the rest.

Every number is read from a table of the results, by which the sentence says it. Of several images
numbers are means over them. What is told is where attention is, not why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from attn.analysis.sketch.shapes import LEAST_LIFT, MOST_CHANCE, is_telling
from attn.analysis.words.maps.areas import FOLDER
from attn.analysis.words.maps.dominance import LEAST
from attn.verbs.report_page import Sentence, digits

if TYPE_CHECKING:
    from pandas import DataFrame

    from attn.schema import Manifest

Tables = Mapping[str, "DataFrame"]
"""By path, as they were written."""

NAMED = 3
"""So many words are told of, those of largest lift."""
CELLS = 4
"""Cells in a row and in a column of the table by which a word's place is named."""
SINK = 0.5
"""From this part of the image's attention on, what takes it is called a sink."""
ROLES, ALIGNED, SHAPES = "sinks/roles.csv", "words/aligned.csv", "sketch/shapes.csv"
FLOW, RECEIVED = "flow/flow.csv", "influence/tokens.csv"
SINKS, SINK_COUNTS = "influence/sinks.csv", "influence/sink_moves.csv"
TEXT_TABLES = (FLOW, RECEIVED, SINKS, SINK_COUNTS)
"""What is told of a text is read from these."""
SPECIAL = {"bos": "the start token", "eos": "the end token", "padding": "padding"}
READ = {
    "prompt": "the prompt",
    "generated": "generated text (themselves included)",
    "sink": "a learned sink",
}
"""What generated tokens read, by the names of segments."""


def tell(manifest: Manifest, tables: Tables) -> list[Sentence]:
    """Return the first paragraph of the report of a trace.

    Args:
        manifest: of the trace.
        tables: of its results.
    """
    path = next((name for name in tables if name.endswith("/tables/dominant.csv")), None)
    told: list[Sentence] = []
    if path is not None:
        segment = path.split("/", maxsplit=1)[0]
        many = sum(name.endswith("/tables/dominant.csv") for name in tables) > 1
        told += _tell_places(segment, tables, path, many=many)
    told += _tell_shapes(tables)
    told += _tell_cut(manifest, tables)
    told += _tell_sinks(tables)
    told += _tell_generated(tables)
    told += _tell_most_read(tables)
    return told or [Sentence("What was read is in the tables and figures below.")]


def _tell_places(
    segment: str, tables: Tables, path: str, *, many: bool = False
) -> Iterator[Sentence]:
    """Yield where the words of largest lift are, how concentrated they are, and where none leads.

    Args:
        segment: of the words.
        tables: by path.
        path: of the table of dominant words.
        many: whether there are other segments, so that this one is named.
    """
    cells_path = f"{segment}/{FOLDER}/grid_analysis_{CELLS}x{CELLS}.csv"
    every = _mean(tables[path], ["dominant", "lift_max"])
    every = every.sort_values("lift_max", ascending=False, kind="stable", ignore_index=True)
    named = every["word"].map(is_telling).to_numpy(bool)
    rows = every[named] if named.any() else every
    cells = _mean(tables[cells_path], ["part"], "row", "column") if cells_path in tables else None
    telling = [row for _, row in rows.iterrows() if row["lift_max"] >= LEAST][:NAMED]
    for number, row in enumerate(telling if cells is not None else ()):
        even = f" (an even map has {_percent(1 / CELLS**2)})" if number == 0 else ""
        of = f"Of the text of {segment}, " if number == 0 and many else ""
        yield Sentence(f"{of}{_place(row, cells, rows)}{even}.", cells_path)
    if not telling:
        yield Sentence(
            f"No word is concentrated anywhere: none gets {LEAST:g} times its mean at any place.",
            path,
        )
        return
    first, last = rows.iloc[0], rows.iloc[-1]
    told = f"At its peak “{_name(first, rows)}” gets {_times(first)}"
    others = (
        ", the most of the words that name something; "
        f"“{_name(last, rows)}” gets {_times(last)}, the least"
    )
    yield Sentence(f"{told}{others if len(rows) > 1 else ''}.", path)
    none = 1 - float(every["dominant"].sum())
    leader = every.sort_values("dominant", ascending=False, kind="stable").iloc[0]
    yield Sentence(
        f"“{_name(leader, every)}” leads in {_percent(leader['dominant'])} of the image, the most; "
        f"no word leads in {_percent(none)}.",
        path,
    )


def _tell_shapes(tables: Tables) -> Iterator[Sentence]:
    """Yield which closed shapes of the drawing words read, as far as that is no accident."""
    if SHAPES not in tables:
        return
    keys = ["word", "occurrence"]
    means = _mean(tables[SHAPES], ["lift", "chance"], "shape", "where").dropna(ignore_index=True)
    words = means.groupby(keys, sort=False)["lift"]
    most, least = (means.loc[at] for at in (words.idxmax(), words.idxmin()))
    least = least.set_index(keys)
    is_shown = (
        most["word"].map(is_telling).to_numpy(bool)
        & (most["lift"] >= LEAST_LIFT)
        & (most["chance"] <= MOST_CHANCE)
    )
    shown = most[is_shown].sort_values("lift", ascending=False, kind="stable")
    for _, row in shown.head(NAMED).iterrows():
        other = least.loc[(row["word"], row["occurrence"])]
        rest = "" if other["shape"] == row["shape"] else f", {_lift(other)}"
        yield Sentence(
            f"“{_name(row, most)}” reads shape {_lift(row)} as much as an even map{rest}.", SHAPES
        )
    if not len(shown):
        yield Sentence("No word is shown to read a closed shape of the drawing.", SHAPES)


def _lift(row: Mapping[str, object]) -> str:
    return f"{row['shape']} ({row['where']}) {digits(float(str(row['lift'])))}×"


def _place(row: Mapping[str, object], cells: DataFrame, rows: DataFrame) -> str:
    """Say in which cell most of a word's attention is."""
    is_word = (cells["word"] == row["word"]) & (cells["occurrence"] == row["occurrence"])
    best = cells[is_word].sort_values("part", ascending=False, kind="stable").iloc[0]
    where = _name_cell(int(best["row"]), int(best["column"]))
    return (
        f"“{_name(row, rows)}” has {_percent(best['part'])} of its attention in one sixteenth of "
        f"the image, {where}"
    )


def _name_cell(row: int, column: int) -> str:
    """Say where a cell is in the image; no two of the sixteen have one name."""
    last, half = CELLS - 1, CELLS // 2
    down = "upper" if row < half else "lower"
    across = "left" if column < half else "right"
    if row in (0, last) and column in (0, last):
        return f"in the {down} {across} corner"
    if row in (0, last):
        return f"at the {'top' if row == 0 else 'bottom'}, {across} of the centre"
    if column in (0, last):
        return f"at the {across} edge, {'above' if row < half else 'below'} the centre"
    return f"to the {down} {across} of the centre"


def _tell_cut(manifest: Manifest, tables: Tables) -> Iterator[Sentence]:
    """Yield what each segment does not hold of the prompt."""
    cut = manifest.truncated.get(manifest.branches[0], {})
    for segment, text in cut.items():
        words = " ".join(text.split())
        yield Sentence(
            f"The prompt is too long for {segment}, which does not read “{words}”.",
            ALIGNED if ALIGNED in tables else "",
        )


def _tell_sinks(tables: Tables) -> Iterator[Sentence]:
    """Yield what part of the image's attention words and special tokens get."""
    if ROLES not in tables:
        return
    table = tables[ROLES]
    rows = table[(table["rows"] == "image") & (table["branch"] == table["branch"].iloc[0])]
    if not len(rows):
        return
    groups = rows.groupby(["sample", "layer", "role"], sort=False)["mass"].sum()
    mass = groups.groupby("role", sort=False).sum() / len(
        rows[["sample", "layer"]].drop_duplicates()
    )
    special = {role: float(mass[role]) for role in SPECIAL if role in mass}
    words = f"the words get {_percent(float(mass.get('word', 0.0)))} of the image's attention"
    if not special:
        yield Sentence(f"{words[0].upper()}{words[1:]}.", ROLES)
        return
    role = max(special, key=lambda name: special[name])
    kind = ", a sink" if special[role] >= SINK else ""
    yield Sentence(
        f"{SPECIAL[role][0].upper()}{SPECIAL[role][1:]} gets {_percent(special[role])}{kind}; "
        f"{words}.",
        ROLES,
    )


def _tell_generated(tables: Tables) -> Iterator[Sentence]:
    """Yield what generated tokens read, mean over these tokens, layers and heads."""
    if FLOW not in tables:
        return
    table = tables[FLOW]
    rows = table[(table["rows"] == "generated") & (table["head"] == "mean")]
    sums = rows.groupby("keys", sort=False)["sum"].sum()
    if not sums.sum() > 0:
        return
    shares = (sums / sums.sum()).sort_values(ascending=False, kind="stable")
    read = [f"{_percent(share)} to {READ.get(name, name)}" for name, share in shares.items()]
    listed = ", ".join([*read[:-2], " and ".join(read[-2:])])
    yield Sentence(f"Of their attention generated tokens give {listed}.", FLOW)


def _tell_most_read(tables: Tables) -> Iterator[Sentence]:
    """Yield which token of a text receives most, mean over layers and samples."""
    if RECEIVED not in tables:
        return
    table = tables[RECEIVED].dropna(subset=["mass"])
    means = table.groupby("position")[["mass", "column_sum"]].mean()
    if not len(means):
        return
    position = means["mass"].idxmax()
    most = means.loc[position]
    rows = table[table["position"] == position]
    texts = {" ".join(str(text).split()) for text in rows["token"].fillna("")}
    text = texts.pop() if len(texts) == 1 else ""
    part = "generated text" if rows["segment"].iloc[0] == "generated" else "prompt"
    named = f"the token “{text}”" if text and text.isprintable() else "the token"
    yield Sentence(
        f"Of the {part} {named} at position {position} gets {_percent(most['mass'])} of all "
        f"attention, the most of {len(means)} tokens (an even share is "
        f"{_percent(most['mass'] / most['column_sum'])});",
        RECEIVED,
    )
    sinks = tables.get(SINKS)
    if sinks is None:
        yield Sentence("no token is a sink.", SINK_COUNTS)
        return
    among = "layers, heads and steps" if (sinks["head"] != "mean").any() else "layers and steps"
    share = (sinks["position"] == position).sum() / tables[SINK_COUNTS]["steps"].sum()
    yield Sentence(f"it is a sink in {_percent(share)} of {among}.", SINKS)


def _mean(table: DataFrame, values: Sequence[str], *further: str) -> DataFrame:
    """Return means over images, of each word and of what else is named."""
    keys = ["word", "occurrence", *further]
    return table.groupby(keys, sort=False, as_index=False)[list(values)].mean()


def _name(row: Mapping[str, object], rows: DataFrame) -> str:
    """Return a word, with its number where it is repeated."""
    is_repeated = (rows["word"] == row["word"]).sum() > 1
    return f"{row['word']} ({row['occurrence']})" if is_repeated else str(row["word"])


def _times(row: Mapping[str, object]) -> str:
    return f"{digits(float(str(row['lift_max'])))} times its mean"


def _percent(part: float) -> str:
    return f"{digits(100 * float(part))} %"
