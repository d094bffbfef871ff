"""The manual is executed: what it shows is what happens."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from inspect import isfunction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import pytest
from typer.testing import CliRunner

from attn.analysis import registry
from attn.analysis.registry import Analysis
from attn.backends import Backend, find, installed, load
from attn.backends.hookspecs import Hooks
from attn.backends.types import BackendSpec, Session
from attn.cli import build
from attn.demo import example_prompt
from attn.options import describe_options
from tests.helpers.cheaper.undrawn import undrawn
from tests.helpers.models.shipped_weights import shipped_weights

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
def workplace(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which the pages' commands leave their traces, with the models that ship."""
    with shipped_weights():
        yield tmp_path_factory.mktemp("docs")


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
        with undrawn():
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
    with undrawn():
        for snippet in snippets:
            exec(compile(snippet, page, "exec"), names)
    assert capsys.readouterr().out.strip()


@pytest.mark.slow
def test_the_first_picture_is_what_the_first_command_makes(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README shows what `make demo` leaves, but for the last bits of another processor."""
    import numpy as np
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    # which it took when it was loaded, perhaps without the weights
    monkeypatch.setattr(type(load(find("sdxl"))), "example_prompt", example_prompt("sdxl"))
    recipe = re.search(r"^demo:.*?\n\n", (ROOT / "Makefile").read_text(), re.MULTILINE | re.DOTALL)
    assert recipe is not None
    command = re.search(r"attn (capture .*)", recipe[0])
    assert command is not None
    with undrawn("clip/heatmaps/words.png"):
        shown = CliRunner().invoke(build(), command[1].split())
    assert shown.exit_code == 0
    assert "trained on pictures of one or two coloured shapes" in shown.stderr
    made = Image.open(tmp_path / "attn-demo" / "analysis" / "clip" / "heatmaps" / "words.png")
    drawn = Image.open(ROOT / "docs" / "pictures" / "demo.png")
    assert made.size == drawn.size
    apart = [np.asarray(picture.convert("RGB"), float) for picture in (made, drawn)]
    assert np.abs(apart[0] - apart[1]).mean() < 2


MANUAL = [ROOT / "README.md", ROOT / "plugins.md", *sorted((ROOT / "docs").rglob("*.md"))]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", MANUAL, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """No page of the manual links to a file or a heading that does not exist."""
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8"))
    for target, anchor in links:
        linked = page.parent / target if target else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}#{anchor}"


def test_every_page_can_be_reached() -> None:
    """Who begins at the README finds every page by links."""
    reached = [ROOT / "README.md"]
    for page in reached:  # grows
        targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
        linked = ((page.parent / target).resolve() for target in targets)
        reached += [one for one in linked if one.suffix == ".md" and one not in reached]
    assert set(MANUAL) <= set(reached)


COMMANDS = [command.callback.__name__ for command in build().registered_commands]
FAMILIES = [one.spec.name for one in installed().specs if one.distribution == "attn"]


@cache
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


THEIRS = {
    *("--constraint", "--group", "--strict", "--no-deps", "--net", "--files", "--minutes"),
    *("--memory", "--explicit", "--rounds", "--sample", "--against", "--shape", "--first"),
}
"""Options of pip, mypy and the benchmarks that the manual shows."""


@pytest.mark.parametrize("page", MANUAL, ids=lambda page: page.name)
def test_no_page_shows_an_option_that_is_not_there(page: Path) -> None:
    """An option that was renamed or taken away does not live on in the manual."""
    text = page.read_text(encoding="utf-8")
    theirs = re.findall(r"^\| (?:file )?there \| .*\n((?:\|.*\n)+)", text, re.M)
    for table in theirs:  # whose left column has the options of other tools
        text = text.replace(table, re.sub(r"^\|.*?(?<!\\)\|", "|", table, flags=re.M))
    known = {"--help", *THEIRS, *(one for command in ("", *COMMANDS) for one in options(command))}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) - known == set()


def test_every_environment_variable_is_documented() -> None:
    """What the code reads from the environment stands in the manual, and nothing else does."""
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "attn").rglob("*.py"))
    manual = "".join(page.read_text(encoding="utf-8") for page in MANUAL)
    pattern = r"\bATTN_[A-Z_]+"
    assert set(re.findall(pattern, code)) == set(re.findall(pattern, manual))


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


def page_of(analysis: str) -> Path:
    """Return the page that the list of analyses names."""
    listed = (ROOT / "docs" / "analyze.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| `{analysis}` \| .* \| \[.*\]\((\w+\.md)[^)]*\) \|$", listed, re.M)
    assert row is not None
    return ROOT / "docs" / row[1]


def section(page: str, heading: str) -> str:
    """Return what stands below a heading, a pattern, up to the next one of its level."""
    result = re.search(rf"^(#+) .*{heading}.*\n", page, re.M)
    assert result is not None, heading
    end = re.compile(rf"^#{{1,{len(result[1])}}} ", re.M).search(page, result.end())
    return page[result.end() : end.start() if end else None]


def tables(text: str, *columns: str) -> list[list[str]]:
    """Return the rows of all tables whose header has these columns, each as its cells."""
    header = re.escape("| " + " | ".join(columns) + " |")
    result = re.findall(rf"^{header}\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.M)
    rows = "".join(result).splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


@pytest.mark.parametrize("analysis", registry.ANALYSES, ids=lambda analysis: analysis.name)
def test_every_analysis_is_documented(analysis: Analysis) -> None:
    """It is in the list of analyses, and the page that the list names has its options."""
    page = page_of(analysis.name)
    assert missing((one.name for one in describe_options(analysis.Options)), page) == []


@pytest.mark.parametrize("analysis", registry.ANALYSES, ids=lambda analysis: analysis.name)
def test_every_analysis_says_what_its_numbers_are(analysis: Analysis) -> None:
    """Its section gives each number formula, unit and source, and its page what it does not say."""
    page = page_of(analysis.name).read_text(encoding="utf-8")
    own = section(page, f"`{analysis.name}`")
    numbers = tables(own, "number", "formula", "unit, range", "source")
    assert numbers
    assert [row for row in numbers if len(row) != 4 or "" in row] == []
    limits = re.search(r"^(?:## )?What it does not say:?\n((?:(?!#).*\n?)+)", own, re.M)
    if limits is None:  # one for all analyses of the page
        limits = re.search(r"^- `" + analysis.name, section(page, "What it does not say"), re.M)
    assert limits is not None


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
    """Every hook, method of a session and shared function stands in plugins.md."""
    from attn.backends import shared
    from attn.backends.diffusers import DiffusersBackend, DiffusersSession

    page = (ROOT / "plugins.md").read_text(encoding="utf-8")
    names = [name for name in vars(Hooks) if not name.startswith("_")]
    bases = (Session, Backend, DiffusersSession, DiffusersBackend)
    names += [*(n for one in bases for n in public(one)), *shared.__all__]
    assert [name for name in names if f"`{name}" not in page] == []


def public(kind: type) -> list[str]:
    """Return the members of a class that are no private ones."""
    return [name for name in vars(kind) | kind.__annotations__ if not name.startswith("_")]


def dataclasses_in(kind: Any) -> list[type]:
    """Return the dataclasses that a type speaks of, and those that their fields speak of."""
    from numpy import ndarray
    from PIL.Image import Image

    parts = kind if isinstance(kind, list) else get_args(kind)
    result = [one for part in parts for one in dataclasses_in(part)]
    if is_dataclass(kind):
        names = {"Image": Image, "np": SimpleNamespace(ndarray=ndarray)}  # type checkers only
        hints = get_type_hints(kind, localns=names).values()
        result += [kind, *(one for hint in hints for one in dataclasses_in(hint))]
    return result


def interface() -> list[type]:
    """Return every dataclass that a plugin gives to `attn` or gets from it."""
    from PIL.Image import Image
    from torch import nn

    members = [one for kind in (Session, Backend) for one in vars(kind).values()]
    hints = [
        get_type_hints(one, localns={"nn": nn, "Image": Image})
        for one in members
        if isfunction(one)
    ]
    hints += [get_type_hints(kind) for kind in (Session, Backend)]
    named = [kind for one in hints for kind in one.values()]
    return list(dict.fromkeys(dataclasses_in([BackendSpec, *named])))


def shown_default(field: Field[Any]) -> str:
    """Return a field's default as the tables of plugins.md show it."""
    if field.default_factory is not MISSING:
        return str(field.default_factory())
    shown = {"None": "none", "False": "no", str(MISSING): "needed"}
    return shown.get(str(field.default), str(field.default))


@pytest.mark.parametrize("kind", interface(), ids=lambda kind: kind.__name__)
def test_every_field_of_the_plugin_types_is_documented(kind: type) -> None:
    """The table of a type has its fields in order, each with its default and a meaning."""
    page = (ROOT / "plugins.md").read_text(encoding="utf-8")
    rows = tables(page, f"`{kind.__name__}`", "default", "meaning")
    listed = [(n, row[1]) for row in rows if row[2] for n in re.findall(r"`(\w+)`", row[0])]
    assert listed == [(field.name, shown_default(field)) for field in fields(kind)]


@pytest.mark.parametrize("example", ["attn-toy", "attn-auraflow"])
def test_examples_say_which_releases_they_need(example: str) -> None:
    """Every dependency of an example has bounds, which what is installed here is within."""
    from importlib.metadata import version

    from packaging.requirements import Requirement

    project = ROOT / "examples" / example
    needed = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    requirements = {one.name: one.specifier for one in map(Requirement, needed)}
    assert {kind.operator for one in requirements.values() for kind in one} == {">=", "<"}
    assert all(len(one) == 2 for one in requirements.values())
    assert [name for name, one in requirements.items() if version(name) not in one] == []
    sources = "".join(path.read_text() for path in (project / "src").rglob("*.py"))
    imported = set(re.findall(r"^(?:import|from) (\w+)", sources, re.M))
    own = {*sys.stdlib_module_names, example.replace("-", "_")}
    assert {"pillow" if name == "PIL" else name for name in imported - own} == set(requirements)
