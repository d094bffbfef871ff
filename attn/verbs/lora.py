"""`attn lora`: what a LoRA file changes, as data, tables and a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.checkpoints.headers import read_header
from attn.demo.shipped import lora_file
from attn.errors import ModelError
from attn.files.disk import is_there, json_text
from attn.files.results import refuse_others, replaced
from attn.verbs.capture.folders import refuse_parts
from attn.verbs.lora_options import LoraOptions
from attn.verbs.lora_specs import cut_modules
from attn.verbs.options import takes
from attn.verbs.report import Report

if TYPE_CHECKING:
    from attn.lora import LoraFile

COMMAND = "lora"
INDEX = "lora.json"
MODULES, BLOCKS, CHART = "modules.csv", "blocks.csv", "norms.png"
SCHEMA = 1
"""Version of `lora.json`."""


@dataclass(frozen=True)
class Examined:
    """What is known of a LoRA file, and where it was written.

    Attributes:
        lora: the file.
        path: folder of the results, or None.
        files: what was written there, relative to it.
        warnings: what is odd about the file, and about the results.
    """

    lora: LoraFile
    path: Path | None
    files: tuple[str, ...]
    warnings: tuple[str, ...]


@takes(LoraOptions)
def examine(options: LoraOptions) -> Examined:
    """Examine a LoRA file: `attn lora`. Neither torch nor a model is loaded.

    Args:
        options: see `LoraOptions`.

    Raises:
        ModelError: a file cannot be read, is damaged, or is no LoRA.
        AnalysisError: `out` holds something else than results of this command.
        TraceError: the results cannot be written.
    """
    from attn import lora
    from attn.lora.selection import restricted

    typed, patterns = cut_modules(str(options.path))
    path, report = Path(lora_file(typed)), options.report or Report()
    out = None if options.out is None else Path(options.out)
    if out is not None:
        refuse_parts(out.parent)  # before time is spent
        refuse_others(out, COMMAND, INDEX)
    _refuse_models(path)
    base = None if options.model is None else find_model(str(options.model), path)
    found = restricted(lora.read(path, base, options.adapter), patterns)
    files = () if out is None else _write(found, out, report)
    warnings = (*(oddity.message for oddity in found.oddities), *report.warnings)
    return Examined(found, out, files, warnings)


def facts(done: Examined) -> dict[str, Any]:
    """Return everything as JSON can hold it."""
    from attn.lora import describe

    return describe(done.lora)


def _refuse_models(path: Path) -> None:
    """Refuse files that are a model and no LoRA, by their kind.

    Raises:
        ModelError: it is a model, an embedding, a ControlNet, ….
    """
    from attn import lora
    from attn.checkpoints.probe import probe
    from attn.lora.source import weights_file

    header = read_header(weights_file(path))
    if not lora.is_lora(header):
        title = probe(header).title
        raise ModelError(
            f"{path} holds no LoRA: this is {title}. Give the file of a LoRA; "
            "a model to compare it with goes to --model"
        )


def find_model(source: str, path: Path) -> Path:
    """Return the folder or file of a model that a LoRA belongs to; nothing is downloaded.

    Raises:
        ModelError: there is none.
    """
    if source == "demo" or source.startswith("demo:"):
        return _demo(source, path)
    file = Path(source).expanduser()
    if is_there(file):
        return file
    from attn.backends.loading.hub import find_cached

    cached = find_cached(source) if source.count("/") == 1 else None
    if cached is None:
        raise ModelError(
            f"no model at {source}: expected a diffusers folder, a .safetensors file, demo, or the "
            "hub id of a model that was downloaded before"
        )
    return cached


def _demo(source: str, path: Path) -> Path:
    from attn import demo, lora
    from attn.checkpoints.families import backend_of

    family = lora.read(path).family
    backend = backend_of(family.name)
    if backend is None:
        raise ModelError(f"the family of {path} is {family.title}: name the model, not '{source}'")
    name = backend + source.removeprefix("demo")
    if backend not in demo.NAMES:
        raise ModelError(
            f"the demo of '{backend}' has no files to compare with: name a model, not '{source}'"
        )
    return demo.checkpoint(name)


def _write(file: LoraFile, out: Path, report: Report) -> tuple[str, ...]:
    from attn.lora import describe
    from attn.lora.facts import block_rows, module_row

    with replaced(out, COMMAND, INDEX, report.warn) as folder:
        _write_table(folder / MODULES, [module_row(module) for module in file.modules])
        _write_table(folder / BLOCKS, block_rows(file))
        files = [MODULES, BLOCKS]
        if _draw(file, folder):
            files.append(CHART)
        else:
            report.warn("there is no chart: the norm of no module is known")
        answer = {"schema": SCHEMA, "files": files, **describe(file)}
        (folder / INDEX).write_text(json_text(answer), encoding="utf-8")
    return (*files, INDEX)


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV; None is an empty cell."""
    import numpy as np

    from attn.analysis.tables import make_table, write_table

    columns = {name: np.array([row[name] for row in rows], object) for name in rows[0]}
    write_table(make_table(columns), path)


def _draw(file: LoraFile, folder: Path) -> bool:
    from attn.viz.compare.lora_norms import draw
    from attn.viz.figures import write

    figure_file = draw(file)
    if figure_file is not None:
        write(figure_file, folder)
    return figure_file is not None
