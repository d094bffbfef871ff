"""The LoRA files that runs were made with, found by their checksums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attn.demo.shipped import LORAS
from attn.errors import AttnError
from attn.files.digests import require_digest
from attn.files.disk import is_file
from attn.verbs.compare.pairing import ComparedRun
from attn.verbs.report import Report

if TYPE_CHECKING:
    from attn.lora import LoraFile
    from attn.schema import Lora, Manifest


def find_lora_files(runs: Sequence[ComparedRun], report: Report) -> dict[str, LoraFile]:
    """Read the LoRAs of variants that have a single one beside those of the baseline.

    A file is looked for where it was, in the working folder, in the folder of its run, in the one
    above that, and among the LoRAs of the demos; it must have the checksum that the traces name.

    Args:
        runs: the baseline, then the variants.
        report: told why the weights of a LoRA cannot be read.

    Returns:
        What the LoRAs changed, by what the variants are called.
    """
    from attn.trace.store import read_manifest

    manifests = [read_manifest(run.members[0].folder) for run in runs]
    files = {}
    for run, manifest in zip(runs[1:], manifests[1:], strict=True):
        added = _added(manifests[0], manifest)
        if len(added) != 1:
            continue
        try:
            files[run.label] = _read(added[0], manifest, _find(added[0], run))
        except AttnError as error:
            report.warn(f"no table of weights: {error}", run.label)
    return files


def _added(base: Manifest, variant: Manifest) -> list[Lora]:
    """Return the LoRAs of a variant that the baseline has not."""
    before = {(lora.sha256 or lora.path, lora.selection) for lora in base.request.loras}
    return [
        lora
        for lora in variant.request.loras
        if (lora.sha256 or lora.path, lora.selection) not in before
    ]


def _find(lora: Lora, run: ComparedRun) -> Path:
    """Return a file with a LoRA's checksum.

    Raises:
        AttnError: there is none: of the last one that was looked at, why not.
    """
    from attn.errors import ModelError

    seen = dict.fromkeys(_candidates(lora, run))
    for path in seen:
        if lora.sha256 is None:
            return path
        try:
            require_digest(path, lora.sha256)
        except AttnError:
            continue
        return path
    digest = f" with SHA-256 {lora.sha256[:8]}…" if lora.sha256 else ""
    raise ModelError(
        f"{Path(lora.path).name}{digest} is neither at {lora.path} nor in the working folder, "
        f"{run.path} or {run.path.parent}; put it there and compare again"
    )


def _candidates(lora: Lora, run: ComparedRun) -> Iterator[Path]:
    """Yield files that may be a LoRA, those of its name first."""
    there = Path(lora.path)
    folders = (Path(), run.path, run.path.parent)
    yield from (path for path in (there, *(at / there.name for at in folders)) if is_file(path))
    for folder in folders:
        yield from sorted(path for path in folder.glob(f"*{there.suffix}") if is_file(path))
    if lora.sha256 is not None:
        yield from LORAS.values()


def _read(lora: Lora, manifest: Manifest, path: Path) -> LoraFile:
    """Return what a LoRA changed, held against the model that the trace was made with."""
    from attn.lora import read
    from attn.lora.base.fit import applied
    from attn.lora.base.weights import open_base
    from attn.verbs.lora import find_model

    model = find_model(str(manifest.model.get("source")), path)
    return applied(read(path, model, lora.adapter), open_base(model), lora)
