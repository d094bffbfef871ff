"""`report.html` of one trace: the answer, the figures that matter, and everything else folded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attn.analysis.tables import Columns, Table
from attn.verbs.analyze.answer import READ_TABLES, tell
from attn.verbs.analyze.collection_tables import ON_PAGE
from attn.verbs.report_page import FIGURES, ReportPage, Section, plain, write_report
from attn.wording import count_noun

if TYPE_CHECKING:
    from attn.schema import Manifest

MATTER = 5
"""So many figures stand open."""
CAPTIONS = {
    "drawing": "The drawing, the image, and how far the image's edges are from the strokes.",
    "shapes": "Which word reads which closed shape of the drawing.",
    "pixel_dominant_tokens": "At each place the word that is furthest above its mean.",
    "words-own-scale": "Where each word is read, each map on its own scale.",
    "words": "Where each word is read, all maps on one scale.",
    "frames-own-scale": "Where each word is read in each frame, each on its own scale.",
    "frames": "Where each word is read in each frame of the video, and how much.",
    "looks": "Where in the image the marked place looks.",
    "concept_outputs": "Which word outside the prompt each place is closest to, by outputs.",
    "concepts": "Which word outside the prompt each place is closest to, by logits.",
    "text_to_image": "Which places of the image each word reads.",
    "text_to_text": "What the words read of each other.",
    "roles": "What the image attends to, layer by layer.",
    "attention_evolution": "How the map of one word forms.",
    "attention_evolution_grid": "How the map of one word forms, step by step.",
    "token_attention_distribution": "How attention is distributed over the words.",
    "overlap": "How far words lie on the strokes.",
    "flow": "What the text reads of the prompt, layer by layer.",
    "influence": "Which tokens are read most, layer by layer.",
    "unmasking": "When, and how surely, each position of the text was decided.",
    "states": "What positions read of each other, by their state.",
    "layers": "Who reads whom, a matrix for each layer.",
    "patterns": "How narrow attention is, and how far it reaches.",
}
"""What figures show, by the stem of their name; the first ones matter most."""
RELATIONS = ("text_to_image", "text_to_text")
"""Folders that name their figures' kind."""
READERS = ("looks", *RELATIONS)
"""Kinds of figures that have a section of their own, since they are there only if asked for."""


def small_tables(
    files: Sequence[str], columns: Mapping[str, Columns], folder: Path
) -> Mapping[str, Columns]:
    """Return the tables of the page by path.

    Args:
        files: results, relative to the folder, of all analyses.
        columns: tables that were made just now, by path; those of earlier analyses are read.
        folder: of the results.
    """
    names = [name for name in files if name in READ_TABLES or name.rpartition("/")[2] in ON_PAGE]
    return {name: columns[name] if name in columns else _read(folder / name) for name in names}


def report_trace(
    manifest: Manifest,
    folder: Path,
    files: Sequence[str],
    tables: Mapping[str, Columns],
    notes: Sequence[str],
) -> str:
    """Write `report.html` of the results in a folder.

    Args:
        manifest: of the trace.
        folder: of the results.
        files: results, relative to it, of all analyses.
        tables: of the page, by path.
        notes: what limits what is said.

    Returns:
        The first paragraph, as plain text.
    """
    figures = [name for name in files if Path(name).suffix in FIGURES]
    order = {name: number for number, name in enumerate(CAPTIONS)}
    ranked = sorted(
        (name for name in figures if _matters(name, figures)),
        key=lambda name: (order[_stem(name)], figures.index(name)),
    )
    readers = [name for name in ranked if _stem(name) in READERS]
    matter = [name for name in ranked if name not in readers][:MATTER]
    rest = [name for name in figures if name not in (*matter, *readers)]
    paragraph = tell(manifest, tables)
    is_text = _is_text(manifest)
    sections = [
        Section(
            "Who reads whom" if is_text else "What the words read",
            _captioned(matter),
            {},
            is_open=True,
        ),
        Section("What places and words read", _captioned(readers), {}, is_open=True),
        Section(f"Other figures ({len(rest)})", _captioned(rest), {}),
        Section(f"Tables ({len(tables)})", {}, tables),
    ]
    write_report(
        ReportPage(
            manifest.request.prompt,
            _subtitle(manifest),
            paragraph,
            [section for section in sections if section.figures or section.tables],
            notes,
        ),
        folder,
    )
    return plain(paragraph)


def _subtitle(manifest: Manifest) -> str:
    noun = "text" if _is_text(manifest) else "image"
    count = count_noun(manifest.samples, noun)
    return f"{manifest.backend} · seed {manifest.request.seed} · {count}"


def _is_text(manifest: Manifest) -> bool:
    """Whether a text was written, rather than an image made."""
    return any(part.is_generated for parts in manifest.segments.values() for part in parts)


def _matters(name: str, figures: Sequence[str]) -> bool:
    """Whether a figure may stand open: not single words, nor the film of a figure."""
    still = str(Path(name).with_suffix(".png"))
    is_film = name != still and still in figures
    return _stem(name) in CAPTIONS and "/heatmaps/words/" not in name and not is_film


def _stem(name: str) -> str:
    """Return what kind of figure it is: the stem of its name, or its folder if that says it."""
    folder = name.partition("/")[0]
    return folder if folder in RELATIONS else Path(name).stem.partition("-sample-")[0]


def _captioned(names: Sequence[str]) -> dict[str, str]:
    return {name: CAPTIONS.get(_stem(name), "") for name in names}


def _read(path: Path) -> Table:
    """Return a table as it was written; only empty cells are unknown, not the word `nan`."""
    import pandas as pd

    frame = pd.read_csv(path, keep_default_na=False, na_values=[""])
    return {str(name): column.to_numpy() for name, column in frame.items()}
