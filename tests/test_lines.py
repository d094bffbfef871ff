"""Every line of the pages for people who come from elsewhere runs, and every one of the README.

Lines name models that are not here and sizes that take minutes: the demo models stand in for them,
with two steps and small pictures. What is tested is that each line is understood, and works.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from attn.cli import build

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "coming-from").glob("*.md"))
SYSTEMS = {
    "attention-map-diffusers",
    "daam",
    "lora-attention-analyzer",
    "mmada-attention",
    "scribble-diffusion",
    "sd35-attention-analysis",
    "sd35-attn-compare",
}
SHORT_TEXT = ["--steps", "8", "--set", "gen_length=8", "--set", "block_length=8"]
VALUES = {"--steps": "2", "--size": "64x96", "--batch": "2", "--limit": None, "--dtype": "float32"}
STAND_INS = {
    "up_blocks.3.*": "up_blocks.2.*",  # the demo has three
    "RUN_A": "first",
    "RUN_B": "second",
}

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("demo_cache")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo_cache: Path, style: Path) -> Path:
    """A folder with what the lines name: prompts, a drawing, a LoRA, two traces."""
    monkeypatch.chdir(tmp_path)
    drawing = Image.new("L", (96, 64), "white")
    ImageDraw.Draw(drawing).ellipse((20, 10, 70, 50), outline="black", width=3)
    drawing.save(tmp_path / "drawing.png")
    (tmp_path / "prompts.txt").write_text("a cat\na barn\n")
    (tmp_path / "prompts_long.json").write_text(json.dumps(["a cat", "a barn in a field"]))
    for place in (tmp_path / "style.safetensors", tmp_path / "path" / "to" / "lora.safetensors"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(style)
    return tmp_path


@pytest.fixture(scope="module")
def style(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of the SDXL demo model."""
    from diffusers import DiffusionPipeline

    from attn import demo
    from tests import lora_demo

    pipe = DiffusionPipeline.from_pretrained(demo.checkpoint("sdxl"), local_files_only=True)
    pairs = lora_demo.changes(pipe, "unet")
    return lora_demo.kohya(tmp_path_factory.mktemp("lora") / "style.safetensors", pairs)


def small(line: str) -> list[str]:
    """Return the arguments of a line with stand-ins for what is large or not here."""
    given = [STAND_INS.get(word, word) for word in shlex.split(line)]
    words = iter(given)
    command = next(words)
    arguments = [command]
    for word in words:
        if word in ("-m", "--model"):
            next(words)
            arguments += ["-m", "demo"]
        elif word == "--seed":
            arguments += ["--seed", re.sub(r"-\d+$", "-1", next(words))]
        elif word in VALUES and not ("mmada" in given and word == "--steps"):
            next(words)
        else:
            arguments.append(word)
    if command in ("analyze", "compare") and "--no-pictures" not in arguments:
        arguments.append("--no-pictures")
    generates = command == "capture" or "--lora" in arguments
    if generates and "mmada" in arguments:
        arguments += [] if "--steps" in given else SHORT_TEXT
    elif generates:
        arguments += ["--steps", "2", "--size", "64x96"]
        arguments += ["--dtype", "float32"] if "--dtype" not in given else ["--dtype", "bfloat16"]
    if command == "compare" and generates and "--seed" not in arguments:
        arguments += ["--seed", "0-1"]
    return arguments


def run(line: str) -> None:
    result = CliRunner().invoke(build(), small(line))
    assert result.exit_code == 0, f"{line}\n{small(line)}\n{result.stderr}"


def execute(text: str, page: str) -> None:
    names = {"__name__": "snippet"}
    for snippet in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S):
        exec(compile(snippet, page, "exec"), names)


def test_there_is_a_page_for_every_system() -> None:
    """The five systems that `attn` grew out of, and the two libraries below them."""
    assert {page.stem for page in PAGES} == SYSTEMS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_coming_from(page: Path, folder: Path) -> None:
    """Every line of the tables runs, in order, and then every snippet."""
    text = page.read_text(encoding="utf-8")
    rows = [row.replace("\\|", "|") for row in text.splitlines() if row.startswith("| ")]
    lines = [line for row in rows for line in re.findall(r"`attn ([^`]+)`", row)]
    assert len(lines) > 3
    for line in lines:
        run(line)
    execute(text, page.name)


def test_readme(folder: Path) -> None:
    """Every line of the README's shell blocks runs (its console sessions have their own test)."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shell = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S))
    lines = re.findall(r"^attn (.*)$", shell, re.M)
    for number, name in enumerate(("first", "second")):
        run(f'capture -b sdxl -p "a cat" --seed {number} -o {name}')
    for line in lines:
        run(line)
    others = {line.split()[0] for line in shell.splitlines() if line.strip()} - {"attn"}
    assert others <= {"git", "make", "pip"}
