"""Draw the figures of docs/figures.md again: `python -m benchmarks.demo.docs_figures RUNS [RUN…]`.

Runs each command in RUNS, unless its folder is there, and writes small copies of its figures to
docs/pictures/figures. With names of runs only these. The figures of `attn analyze` with options of
its own, and of written texts, are drawn by hand.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

from attn.demo.shipped import lora_file

PROMPT = "a red square left of a purple triangle on a white background"
PICTURES = Path(__file__).parents[2] / "docs" / "pictures" / "figures"
WIDTH, QUALITY = 560, 80
STRENGTHS = {"style-000002": 0.2, "style-000006": 0.45, "style-000010": 0.75, "style": 1.0}
"""Files of a training: the demo's LoRA at a part of its strength."""
FEW = ["--seed", "0-3", "--steps", "8"]
RUNS = {
    "analyze": ["capture", "-b", "sdxl", "-p", PROMPT, "--seed", "3", "--analyze"],
    "scribble": ["capture", "-b", "scribble", "-p", PROMPT, "--seed", "3", "--analyze"],
    "collection": [
        *["capture", "-b", "sdxl", "-p", "a red square", "-p", "a blue star above a green circle"],
        *["--seed", "0-3", "--analyze"],
    ],
    "demo16": ["compare", "--lora", "demo", "--seed", "0-15", "--steps", "12"],
    "controls": ["compare", "--lora", "demo", *FEW, "--null", "--leak", "--by-block"],
    "sweep": ["compare", "--lora", "demo:0,0.5,1,1.5,2", *FEW],
    "training": ["compare", "--lora", "epochs", *FEW],
    "stack": ["compare", "--lora", "demo:0.8+noise.safetensors:0.6", "--leave-one-out", *FEW],
    "sketches": [
        *["compare", "--sketch", "none", "--sketch", "scribble/outputs/sketch.png", "-p", PROMPT],
        *["--seed", "0-3", "--steps", "10"],
    ],
    "sd35": ["compare", "-b", "sd35", "--lora", "demo:sd35", *FEW, "--null"],
    "sd35-run": ["capture", "-b", "sd35", "--seed", "3", "--steps", "8", "--analyze"],
    "cuts": ["ablate", "-b", "sdxl", "-p", PROMPT, "--cut", "red", "--cut", "square", *FEW],
    "file": ["lora", "demo", "--model", "demo"],
}
"""Commands by the name of their folder."""
OF_RUN = {
    "heads": "sinks/layer_head_heatmap", "roles": "sinks/roles",
    "timesteps": "sinks/timestep_curve",
}  # fmt: skip
OF_WORDS = {
    "words": "heatmaps/words", "words-own-scale": "heatmaps/words-own-scale",
    "square": "heatmaps/words/002-square", "curves": "curves/words",
    "dominant": "base_analysis/pixel_dominant_tokens", "cells": "base_analysis/grid_analysis_4x4",
    "cells-8x8": "base_analysis/grid_analysis_8x8",
    "distribution": "base_analysis/token_attention_distribution",
}  # fmt: skip
OF_PAIRS = {
    "comparison": "attention_comparison", "difference": "difference", "pairs": "pairs",
    "layers": "layers", "heads": "sinks", "weights": "lora_weights", "images": "image_comparison",
    "token": "token_comparisons/002-square",
}  # fmt: skip
OF_VARIANT = {
    "dominant": "pixel_dominant_tokens", "cells": "grid_analysis_4x4",
    "distribution": "token_attention_distribution",
}  # fmt: skip
WHOLE = "comparison/"
FIGURES = {
    "analyze": {
        **{name: f"analysis/{path}" for name, path in OF_RUN.items()},
        **{name: f"analysis/clip/{path}" for name, path in OF_WORDS.items()},
    },
    "scribble": {
        name: f"analysis/sketch/{name}" for name in ("drawing", "shapes", "overlap", "residuals")
    },
    "collection": {"collection": "analysis/summary"},
    "demo16": {
        "summary": f"{WHOLE}summary",
        **{
            ("change-heads" if name == "heads" else name): WHOLE + path
            for name, path in OF_PAIRS.items()
        },
        "gallery": f"{WHOLE}lora_analysis/token_attention_gallery",
        "gallery-own-scale": f"{WHOLE}lora_analysis/token_attention_gallery-own-scale",
    },
    "controls": {name: WHOLE + name for name in ("null", "parts", "leak")},
    "sweep": {
        "sweep": f"{WHOLE}sweep",
        "sweep-summary": f"{WHOLE}summary",
        **{
            f"variant-{name}": f"{WHOLE}variants/square.kohya-2/{path}"
            for name, path in OF_PAIRS.items()
        },
        **{
            f"variant-{name}": f"{WHOLE}variants/square.kohya-2/lora_analysis/{path}"
            for name, path in OF_VARIANT.items()
        },
    },
    "training": {"epochs": f"{WHOLE}sweep"},
    "stack": {"stack-parts": f"{WHOLE}parts", "stack-summary": f"{WHOLE}summary"},
    "sketches": {
        "sketch-changes": f"{WHOLE}sketch_changes",
        **{f"sketch-{name}": WHOLE + name for name in ("summary", "pairs", "difference", "layers")},
        "sketch-token": f"{WHOLE}token_comparisons/001-red",
    },
    "sd35": {
        **{f"sd35-{name}": WHOLE + name for name in ("null", "summary")},
        **{
            f"sd35-{name}": f"{WHOLE}variants/purple.kohya/{name}"
            for name in ("difference", "layers")
        },
    },
    "sd35-run": {
        "sd35-words": "analysis/clip/heatmaps/words",
        "sd35-roles": "analysis/sinks/roles",
    },
    "cuts": {"cuts": f"{WHOLE}cuts"},
    "file": {"norms": "norms"},
}
"""Figures in docs by the run that they are of: where each lies in its folder."""


def main(folder: Path, names: list[str]) -> None:
    """Run what is not there, and copy its figures."""
    folder.mkdir(parents=True, exist_ok=True)
    make_loras(folder)
    for name in names or RUNS:
        if not (folder / name).exists():
            command = [sys.executable, "-m", "attn", *RUNS[name], "--out", name]
            done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
            (folder / f"{name}.txt").write_text(done.stdout, encoding="utf-8")
        for small, path in FIGURES[name].items():
            shrink(folder / name / f"{path}.png", PICTURES / f"{small}.jpg")


def make_loras(folder: Path) -> None:
    """Write the files of a training, and noise of the size of the demo's LoRA."""
    import numpy as np
    from safetensors import safe_open
    from safetensors.numpy import save_file

    with safe_open(lora_file("demo"), "np") as file:
        about = file.metadata()  # which says what it is for
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - a file
    ups = [name for name in tensors if name.endswith("lora_up.weight")]
    (folder / "epochs").mkdir(exist_ok=True)
    for name, strength in STRENGTHS.items():
        scaled = {of: (strength * tensors[of]).astype(tensors[of].dtype) for of in ups}
        save_file(tensors | scaled, folder / "epochs" / f"{name}.safetensors", about)
    random = np.random.default_rng(0)
    noise = {}
    for name, weights in tensors.items():
        if not name.endswith(".alpha"):
            drawn = random.standard_normal(weights.shape)
            size = np.linalg.norm(weights.astype(np.float64)) / np.linalg.norm(drawn)
            noise[name] = (size * drawn).astype(weights.dtype)
    save_file(tensors | noise, folder / "noise.safetensors", about)


def shrink(figure: Path, small: Path) -> None:
    """Write a figure as wide as the page shows it."""
    image = Image.open(figure).convert("RGB")
    height = round(image.height * WIDTH / image.width)
    image.resize((WIDTH, height), Image.Resampling.LANCZOS).save(small, quality=QUALITY)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
