"""Every line that the manual shows runs: shell blocks, sessions, and tables of "there" and "here".

Lines name models that are not here and sizes that take minutes: the demo models stand in for them,
with two steps and small pictures. What is tested is that each line is understood, and works.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from attn.cli import build
from attn.demo import judge, rendering, scenes
from attn.explorer.server import Server

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
COMING = sorted((ROOT / "docs" / "coming-from").glob("*.md"))
RUN_ELSEWHERE = {"capture", "lora", "mmada", "models", "python", "trace"}
"""Pages whose Python is run by `test_docs` and `lora/test_manual`."""
LONG = {"demo": 3}
"""Shell blocks, by page, that begin with the comment `# takes …`, and are not run."""
ANALYZE = (ROOT / "docs" / "analyze.md").read_text(encoding="utf-8")
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
MODELS = {"path/to/sd15-folder": "sd15", "path/to/checkpoint": "scribble:tokens"}
PARTS = {
    "base=path/to/sd15-folder": "sd15",
    "controlnet=lllyasviel/sd-controlnet-scribble": "scribble:sd15/controlnet",
    "dit=sd3.5_large.safetensors": "sd35/transformer",
    "clip_l=clip_l.safetensors": "sd35/text_encoder",
    "clip_g=clip_g.safetensors": "sd35/text_encoder_2",
    "t5xxl=t5xxl_fp16.safetensors": "sd35/text_encoder_3",
    "vae=sd3_vae.safetensors": "sd35/vae",
    "tokenizers=~/tokenizers": "sd35",
}
"""Demo models, and folders in them, in the place of the files that lines name."""

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("demo_cache", "undrawn")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo_cache: Path, style: Path) -> Path:
    """A folder with what the lines name: prompts, a drawing, a LoRA, two traces."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Server, "run", Server.stop)  # it would answer until it is interrupted
    # Gradio leaves event loops open; its pages have tests in processes of their own
    monkeypatch.setattr("attn.studio.app.make_application", lambda *_: None)
    monkeypatch.setattr("webbrowser.open", bool)
    painted = paint("a red star left of a blue circle on a white background")
    monkeypatch.setattr(judge, "find", lambda _: painted)  # untrained models paint noise
    drawing = Image.new("L", (96, 64), "white")
    ImageDraw.Draw(drawing).ellipse((20, 10, 70, 50), outline="black", width=3)
    drawing.save(tmp_path / "drawing.png")
    drawing.convert("RGB").resize((100, 150)).save(tmp_path / "photo.png")
    drawing.resize((100, 150)).save(tmp_path / "mask.png")
    (tmp_path / "prompts.txt").write_text("a cat\na barn\n")
    (tmp_path / "prompts_long.json").write_text(json.dumps(["a cat", "a barn in a field"]))
    for name in ("style.safetensors", "eyes.safetensors", "path/to/lora.safetensors"):
        index = tmp_path / name
        index.parent.mkdir(parents=True, exist_ok=True)
        index.symlink_to(style)
    return tmp_path


def paint(caption: str) -> judge.Painted:
    """Return what a true picture of a caption shows."""
    scene = scenes.arrange(scenes.read(caption), np.random.default_rng(0))
    return judge.find(rendering.render(scene, 96))


@pytest.fixture(scope="module")
def style(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of the SDXL demo model."""
    from diffusers import DiffusionPipeline

    from attn import demo
    from tests.helpers.models import lora_demo

    pipe = DiffusionPipeline.from_pretrained(demo.checkpoint("sdxl"), local_files_only=True)
    pairs = lora_demo.changes(pipe, "unet")
    return lora_demo.kohya(tmp_path_factory.mktemp("lora") / "style.safetensors", pairs)


def checkpoint(place: str) -> str:
    """Return the folder of a demo model, or a folder in it."""
    from attn import demo

    name, _, part = place.partition("/")
    return str(demo.checkpoint(name) / part)


def replace(option: str, value: str) -> list[str]:
    """Return an option and what stands in for its value."""
    if option in ("-m", "--model"):
        shown = checkpoint(MODELS[value]) if value in MODELS else "demo"
        return [option, value if value.startswith("demo") else shown]
    if option == "--seed":
        return [option, re.sub(r"(\d+)-\d+$", lambda of: f"{of[1]}-{int(of[1]) + 1}", value)]
    if option == "--set" and value in PARTS:
        return [option, f"{value.partition('=')[0]}={checkpoint(PARTS[value])}"]
    return [option, STAND_INS.get(value, value)]


def codebook() -> list[str]:
    """Return the arguments for a demo language model whose spare ids are those of a picture."""
    Path("codebook").mkdir(exist_ok=True)
    for file in Path(checkpoint("mmada")).iterdir():
        shutil.copy(file, "codebook")
    config = json.loads(Path("codebook/config.json").read_text()) | {"codebook_size": 23}
    Path("codebook/config.json").write_text(json.dumps(config))
    marks = {"t2i": "start_header_id", "soi": "end_header_id", "eoi": "eot_id"}
    settings = [f"{name}_token=<|{mark}|>" for name, mark in marks.items()]
    settings += ["image_rows=3", "image_columns=5"]
    return ["-m", "codebook", "--steps", "2", *(f"--set={setting}" for setting in settings)]


def writer(picture: str | None) -> Path:
    """Return the folder of a tiny causal language model, one that reads a picture if it is to."""
    from PIL import Image

    from tests.backends.families.hf import conftest, vision

    folder = Path("seer" if picture else "writer")
    folder.mkdir(exist_ok=True)
    if picture is None:
        return conftest.save(folder, "llama", {})
    Image.new("RGB", (83, 47), "white").save(picture)
    return vision.save(folder)


def small(line: str) -> list[str]:
    """Return the arguments of a line with stand-ins for what is large or not here."""
    given = [STAND_INS.get(word, word) for word in shlex.split(line)]
    writes_text = bool({"mmada", "llada"} & set(given))
    dropped = set(VALUES) - ({"--steps"} if writes_text else set())
    dropped |= {"-m", "--model"} if "t2i=yes" in given else set()
    words = iter(given)
    command = next(words)
    arguments = [command]
    for word in words:
        if word in dropped:
            next(words)
        elif word in ("-m", "--model", "--seed", "--set"):
            arguments += replace(word, next(words))
        elif word == "--lora":  # the demo's own does not fit the demo with random weights
            arguments += [word, re.sub(r"^demo(:sd35)?\b", "style.safetensors", next(words))]
        else:
            arguments.append(word)
    if command in ("analyze", "compare", "ablate", "evaluate") and "--no-pictures" not in arguments:
        arguments.append("--no-pictures")
    is_new = command in ("capture", "ablate")
    generates = is_new or bool({"--lora", "--sketch"} & set(arguments))
    if "t2i=yes" in given:
        arguments += codebook()
    elif "hf" in given:
        pictures = (word.partition("=")[2] for word in given if word.startswith("image="))
        arguments[arguments.index("-m") + 1] = str(writer(next(pictures, None)))
    elif generates and writes_text:
        arguments += [] if "--steps" in given else SHORT_TEXT
    elif generates:
        is_shown = "--picture" in given and not {"--strength", "--mask-picture"} & set(given)
        steps = "1" if command == "ablate" and "--scan" not in given else "2"
        arguments += ["--size", "64x96"] if is_shown else ["--steps", steps, "--size", "64x96"]
        arguments += ["--dtype", "float32"] if "--dtype" not in given else ["--dtype", "bfloat16"]
    if command != "capture" and generates and "--seed" not in arguments:
        arguments += ["--seed", "0-1"]
    if generates and not writes_text:
        arguments += ["--batch", "2"]
    return arguments


def run(line: str) -> None:
    """Run a line; its figures, which `--analyze` draws in other tests, take most of the time."""
    arguments = small(line)
    lines = [[word for word in arguments if word != "--analyze"]]
    if lines[0] != arguments and {"-o", "--out"} & set(arguments):
        out = arguments[1 + max(map(_place_of(arguments), ("-o", "--out")))]
        lines.append(["analyze", out, "--no-pictures"])
    else:
        lines = [arguments]
    for words in lines:
        result = CliRunner().invoke(build(), words)
        assert result.exit_code == 0, f"{line}\n{words}\n{result.stderr}"


def _place_of(arguments: list[str]) -> Callable[[str], int]:
    return lambda flag: arguments.index(flag) if flag in arguments else -1


def execute(text: str, page: str) -> None:
    names = {"__name__": "snippet"}
    for snippet in fences(text, "python"):
        exec(compile(snippet, page, "exec"), names)


def fences(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def replay(text: str) -> None:
    """Run the sessions of a page as they stand, and compare what they print."""
    shown = "".join(fences(text, "console"))
    for command, expected in re.findall(r"^\$ attn (.*)\n((?:(?!\$ ).*\n)*)", shown, re.M):
        result = CliRunner().invoke(build(), shlex.split(command))
        assert (result.exit_code, result.stdout) == (0, expected)


def is_long(block: str) -> bool:
    return block.startswith("# takes ")


def statements(text: str) -> list[str]:
    """Return the commands of a page's shell blocks without those that take long."""
    shell = "".join(block for block in fences(text, "sh") if not is_long(block))
    joined = shell.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def code_names(text: str) -> set[str]:
    """Return all names that a page has in code."""
    spans = re.findall(r"`([^`\n]+)`", text)
    return {name for span in spans for name in re.split(r"[^\w.]+", span)}


def definitions(folder: str) -> set[str]:
    """Return the names on the page of the analysis that writes this folder, or on all pages."""
    name = "words|frames" if folder == "tables" else folder
    named = re.findall(rf"^\| `(?:{name})` \| .*\((\w+\.md)", ANALYZE, re.M)
    pages = [ROOT / "docs" / page for page in named] or PAGES  # tables of a collection
    return set().union(*(code_names(page.read_text(encoding="utf-8")) for page in pages))


def undefined_columns(folder: Path) -> list[str]:
    """Return the columns of the tables of analyses below a folder that no page names."""
    result = set()
    for table in folder.rglob("analysis/**/*.csv"):
        columns = table.read_text(encoding="utf-8").partition("\n")[0].strip().split(",")
        known = definitions(table.parent.name)
        result |= {f"{table.name}: {column}" for column in columns if column not in known}
    return sorted(result)


def test_there_is_a_page_for_every_system() -> None:
    """The five systems that `attn` grew out of, and the two libraries below them."""
    assert {page.stem for page in COMING} == SYSTEMS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(page: Path, folder: Path) -> None:
    """Every line, session and snippet of a page runs, and all columns that they write are named."""
    text = page.read_text(encoding="utf-8")
    lines = statements(text)
    assert [line for line in lines if not line.startswith("attn ")] == []
    for line in lines:
        run(line.removeprefix("attn "))
    if page.stem != "lora":  # whose file `lora/test_manual` makes
        replay(text)
    if page.stem not in RUN_ELSEWHERE:
        execute(text, page.name)
    assert undefined_columns(folder) == []


def test_few_blocks_are_not_run() -> None:
    """What takes long says so where it stands, and how many do is known."""
    long = {page.stem: sum(map(is_long, fences(page.read_text(), "sh"))) for page in PAGES}
    assert {page: number for page, number in long.items() if number} == LONG


@pytest.mark.parametrize("page", COMING, ids=lambda page: page.stem)
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
    lines = statements((ROOT / "README.md").read_text(encoding="utf-8"))
    for number, name in enumerate(("first", "second")):
        run(f'capture -b sdxl -p "a cat" --seed {number} -o {name}')
    for line in lines:
        if line.startswith("attn "):
            run(line.removeprefix("attn "))


INSTALLING = {
    "README.md": ["make demo", ". .venv/bin/activate"],
    "plugins.md": ["python3 -m venv ~/backends && . ~/backends/bin/activate", "pip install ."],
    "examples/attn-auraflow/README.md": ["pip install ./examples/attn-auraflow"],
}
"""Lines that need the network; what they install, `test_install` and `test_tutorial` do."""


@pytest.mark.parametrize("page", INSTALLING)
def test_what_is_not_run_is_known(page: str) -> None:
    """Only lines that install are not run, and none can be added unseen."""
    lines = statements((ROOT / page).read_text(encoding="utf-8"))
    assert [line for line in lines if not line.startswith("attn ")] == INSTALLING[page]
