"""The manual is executed: what it shows is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from attn.analysis import registry
from attn.backends import find, load
from attn.backends.hookspecs import Hooks
from attn.backends.types import BackendSpec, Session
from attn.cli import build
from attn.options import describe_options

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/trace.md", "docs/capture.md", "docs/models.md", "docs/mmada.md")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the pages' commands leave their traces."""
    return tmp_path_factory.mktemp("docs")


def fences(page: str, language: str) -> list[str]:
    """Return the code blocks of one language, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def sessions(page: str) -> list[tuple[str, str]]:
    """Return (command, expected output) of every `$ …` line."""
    shown = "".join(fences(page, "console"))
    return re.findall(r"^\$ attn (.*)\n((?:(?!\$ ).*\n)*)", shown, re.MULTILINE)


def run(command: str) -> tuple[int, str]:
    import shlex

    result = CliRunner().invoke(build(), shlex.split(command))
    return result.exit_code, result.stdout


@pytest.mark.slow
def test_readme_commands_print_what_is_shown(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every console session of the README gives exactly the output that it shows."""
    monkeypatch.chdir(workplace)
    shown = sessions("README.md")
    assert len(shown) == 3
    for command, expected in shown:
        code, output = run(command)
        assert (code, [line.rstrip() for line in output.splitlines()]) == (0, expected.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_python_snippets_run(
    page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every Python block of the manual runs, on traces that the README's commands left."""
    monkeypatch.chdir(workplace)
    if page == "docs/trace.md" and not Path("attn-demo").exists():
        assert run("capture -b sdxl --size 64x96 --steps 2 -o attn-demo")[0] == 0
    snippets = fences(page, "python")
    assert snippets
    for snippet in snippets:
        exec(compile(snippet, page, "exec"), {"__name__": "snippet"})
    assert capsys.readouterr().out.strip()


@pytest.mark.slow
def test_the_first_picture_is_what_the_first_command_makes(tmp_path: Path) -> None:
    """The README shows what `make demo` leaves, but for the last bits of another processor."""
    import numpy as np
    from PIL import Image

    recipe = re.search(r"^demo:.*?\n\n", (ROOT / "Makefile").read_text(), re.MULTILINE | re.DOTALL)
    assert recipe is not None
    command = re.search(r"attn (capture .*)", recipe[0])
    assert command is not None
    # a process of its own, because the tests see untrained demo models
    arguments = [sys.executable, "-m", "attn", *command[1].split()]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ATTN_CACHE": str(tmp_path / "cache")}
    shown = subprocess.run(
        arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "trained on pictures of one or two coloured shapes" in shown.stderr
    made = Image.open(tmp_path / "attn-demo" / "analysis" / "clip" / "heatmaps" / "words.png")
    drawn = Image.open(ROOT / "docs" / "pictures" / "demo.png")
    assert made.size == drawn.size
    apart = [np.asarray(picture.convert("RGB"), float) for picture in (made, drawn)]
    assert np.abs(apart[0] - apart[1]).mean() < 2


def test_links_lead_somewhere() -> None:
    """No page of the manual links to a file that does not exist."""
    for page in [ROOT / "README.md", ROOT / "plugins.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def options(command: str) -> set[str]:
    return set(re.findall(r"--[a-z][a-z-]*", run(f"{command} --help")[1])) - {"--help"}


@pytest.mark.parametrize("command", ["capture", "analyze", "compare", "lora"])
def test_every_option_is_documented(command: str) -> None:
    """An option that no page mentions fails: a help text alone explains too little."""
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    pages += (ROOT / "README.md").read_text(encoding="utf-8")
    assert {option for option in options(command) if option not in pages} == set()


@pytest.mark.parametrize("backend", ["sd15", "sdxl", "sd35", "mmada"])
def test_every_option_of_a_family_is_documented(backend: str) -> None:
    """The same for what `--set` takes, which a page explains by its name."""
    own = ROOT / "docs" / f"{backend}.md"
    page = (own if own.exists() else ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    names = [option.name for option in describe_options(load(find(backend)).Options)]
    assert [name for name in names if f"`{name}" not in page and f" {name}=" not in page] == []


@pytest.mark.parametrize(
    "name",
    ["unmasking", "flow", "blocks", "patterns", "matrices", "influence", "similarity", "report"],
)
def test_analyses_of_texts_are_documented(name: str) -> None:
    """Every analysis of a text, and every option of it, stands on the page of texts."""
    page = (ROOT / "docs" / "texts.md").read_text(encoding="utf-8")
    names = [option.name for option in describe_options(registry.find(name).Options)]
    missing = [one for one in names if f"`{one}" not in page and f"`, `{one}" not in page]
    assert f"## `{name}`" in page
    assert missing == []


def test_the_plugin_interface_is_documented() -> None:
    """Every hook, field of a spec and method of a session stands in plugins.md."""
    page = (ROOT / "plugins.md").read_text(encoding="utf-8")
    names = [name for name in vars(Hooks) if not name.startswith("_")]
    names += [
        *BackendSpec.__dataclass_fields__,
        *(n for n in vars(Session) if not n.startswith("_")),
    ]
    assert [name for name in names if f"`{name}" not in page] == []
