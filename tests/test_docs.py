"""The manual is executed: what it shows is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from attn.analysis import registry
from attn.analysis.registry import Analysis
from attn.backends import Backend, find, installed, load
from attn.backends.hookspecs import Hooks
from attn.backends.types import BackendSpec, Session
from attn.cli import build
from attn.options import describe_options

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "docs/trace.md",
    "docs/capture.md",
    "docs/models.md",
    "docs/mmada.md",
    "docs/python.md",
)


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
    names = {"__name__": "snippet"}  # a reader types on
    for snippet in snippets:
        exec(compile(snippet, page, "exec"), names)
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
    for page in [ROOT / "README.md", ROOT / "plugins.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


COMMANDS = [command.callback.__name__ for command in build().registered_commands]
FAMILIES = [one.spec.name for one in installed().specs if one.distribution == "attn"]


def options(command: str) -> set[str]:
    return set(re.findall(r"--[a-z][a-z-]*", run(f"{command} --help")[1])) - {"--help"}


def missing(names: Iterable[str], page: Path) -> list[str]:
    """Return the options that a page does not show as `name` or in an example, name=value."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    return [name for name in names if not re.search(rf"`{name}\b|[ .]{name}=", text)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_has_its_page(command: str) -> None:
    """A command without a page fails, and so does an option that the page does not mention."""
    page = ROOT / "docs" / f"{command}.md"
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert f"attn {command}" in text
    assert {option for option in options(command) if option not in text} == set()


def test_what_every_command_takes_is_documented() -> None:
    """The same for the options before the command."""
    page = (ROOT / "docs" / "capture.md").read_text(encoding="utf-8")
    assert {option for option in options("") if option not in page} == set()


@pytest.mark.parametrize("backend", FAMILIES)
def test_every_option_of_a_family_is_documented(backend: str) -> None:
    """The same for what `--set` takes, on the family's own page or on that of models."""
    own = ROOT / "docs" / f"{backend}.md"
    page = own if own.exists() else ROOT / "docs" / "models.md"
    names = [option.name for option in describe_options(load(find(backend)).Options)]
    assert missing(names, page) == []


@pytest.mark.parametrize("backend", FAMILIES)
def test_every_family_is_in_the_table_of_the_readme(backend: str) -> None:
    """Who looks for a family finds it on the first page."""
    assert f"| `{backend}` |" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("analysis", registry.ANALYSES, ids=lambda analysis: analysis.name)
def test_every_analysis_is_documented(analysis: Analysis) -> None:
    """It is in the list of analyses, and the page that the list names has its options."""
    listed = (ROOT / "docs" / "analyze.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| `{analysis.name}` \| .* \| \[.*\]\((\w+\.md)[^)]*\) \|$", listed, re.M)
    assert row is not None
    page = ROOT / "docs" / row[1]
    heading = rf"^#.*`{analysis.name}`"
    assert re.search(heading, page.read_text(encoding="utf-8"), re.M)
    assert missing((one.name for one in describe_options(analysis.Options)), page) == []


def test_public_names_are_documented() -> None:
    """Every public name stands on the page of Python, and nothing that is not there does."""
    import attn

    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert [name for name in attn.__all__ if f"attn.{name}" not in page] == []
    named = set(re.findall(r"^\| `attn\.(\w+)", page, re.M))
    assert named == set(attn.__all__)


def test_the_readme_is_short() -> None:
    """A page to read, not a manual."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_the_plugin_interface_is_documented() -> None:
    """Every hook, field of a spec and method of a session stands in plugins.md."""
    from attn.backends import shared

    page = (ROOT / "plugins.md").read_text(encoding="utf-8")
    names = [name for name in vars(Hooks) if not name.startswith("_")]
    names += [
        *BackendSpec.__dataclass_fields__,
        *(n for one in (Session, Backend) for n in public(one)),
        *shared.__all__,
    ]
    assert [name for name in names if f"`{name}" not in page] == []


def public(kind: type) -> list[str]:
    """Return the members of a class that are no private ones."""
    return [name for name in vars(kind) | kind.__annotations__ if not name.startswith("_")]
