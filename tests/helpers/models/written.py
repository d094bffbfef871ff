"""A tiny model in the files that people have, and what is refused of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.helpers.models import layouts
from tests.helpers.models.layouts import State
from tests.helpers.models.opening import refusal

Source = tuple[Path | None, dict[str, str]]
"""What is opened, and its settings."""


def write_files(
    folder: Path, target: Path, whole: State, dit: State, **parts: State
) -> dict[str, Source]:
    """Write a model as one file, and as a file for each part.

    Args:
        folder: the model as diffusers saves it.
        target: where to.
        whole: everything, as its authors or ComfyUI put it together.
        dit: the transformer alone.
        parts: the others, by the option that takes them.
    """
    config = {"config": str(folder)}
    states = {"dit": dit, **parts}
    paths = {
        name: str(layouts.write(state, target / f"{name}.safetensors"))
        for name, state in states.items()
    }
    return {
        "folder": (folder, {}),
        "one file": (layouts.write(whole, target / "whole.safetensors"), config),
        "parts": (None, config | paths),
        "folder and file": (folder, {"dit": paths["dit"]}),
        "alone": (Path(paths["dit"]), config),
    }


def check_refused(
    backend: str, title: str, files: dict[str, Source], transformer: Any, target: Path
) -> None:
    """Check that a part alone, quantised weights and another backend are refused, with what to do.

    Args:
        backend: of the files.
        title: what their transformer is called.
        files: from `write_files`.
        transformer: the tiny one.
        target: a folder to write to.
    """
    parts = ", ".join(name for name in files["parts"][1] if name not in ("config", "dit"))
    assert f"dit found, {parts} missing" in refusal(backend, files["alone"][0])
    state = layouts.copied(transformer) | {"scaled_fp8": torch.zeros(2)}
    path = layouts.write(state, target / "fp8.safetensors")
    assert f"a model like {title}, in scaled fp8; its weights are quantised" in refusal(
        backend, path
    )
    for layout in ("folder", "one file"):
        assert refusal("flux", files[layout][0]).endswith(f"use --backend {backend}")


def write_encoded_files(
    folder: Path, target: Path, pipe: Any, authors: State, encoder: str
) -> dict[str, Source]:
    """Write a pipeline with one text encoder as files: (model, settings) by what they are.

    Args:
        folder: of the same pipeline, as diffusers saves it.
        target: where the files go.
        pipe: the pipeline.
        authors: its transformer in its authors' names.
        encoder: the option that names its text encoder.
    """
    config = {"config": str(folder), "vae": str(folder / "vae")}
    theirs = layouts.write(authors, target / "authors.safetensors")
    same = layouts.write(layouts.copied(pipe.transformer), target / "diffusers.safetensors")
    text = layouts.write(layouts.copied(pipe.text_encoder), target / "encoder.safetensors")
    return {
        "folder": (folder, {}),
        "authors": (None, config | {"dit": str(theirs), encoder: str(text)}),
        "diffusers": (None, config | {"dit": str(same), encoder: str(folder / "text_encoder")}),
        "alone": (theirs, {"config": str(folder)}),
    }
