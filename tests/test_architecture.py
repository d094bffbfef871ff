"""The plan of the house: the walks exist, maps are short, private names stay home."""

import ast
import importlib
import keyword
import pkgutil
import re
import tokenize
from collections import Counter
from fnmatch import fnmatch
from io import StringIO
from pathlib import Path
from statistics import median

import pytest

import attn
from attn.backends.builtin import attn_backends
from attn.checkpoints.families import families

ROOT = Path(attn.__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(attn[\w.]*):(\w+)`", PAGE)))
PACKAGES = sorted(
    module.name for module in pkgutil.walk_packages(attn.__path__, "attn.") if module.ispkg
)
SOURCES = ("benchmarks", "tests", "attn", "examples")
LONGEST_MAP, LARGEST_FOLDER, LONGEST_FILE = 30, 16, 400
MIDDLING_FILE = 120
"""Half of all files are shorter."""
VAGUE = {"one", "own", "place", "places", "found", "chosen", "asked", "given", "known"}
MOST_VAGUE = 60
"""Of 10,000 names in the package, parts of names in snake case included."""


def sources():
    """Yield every module of the package with its dotted name."""
    for path in sorted((ROOT / "attn").rglob("*.py")):
        yield ".".join(path.relative_to(ROOT).with_suffix("").parts), path


@pytest.mark.parametrize(("module", "name"), NAMED)
def test_walks_name_what_exists(module, name):
    """Each function and class that the walks of the page name is where they say."""
    assert hasattr(importlib.import_module(module), name)


def test_walks_are_there():
    """The page was read: a change of its spelling must not empty the test above."""
    assert len(NAMED) > 20


@pytest.mark.parametrize("name", ["attn", *PACKAGES])
def test_maps(name):
    """The docstring of every package is its map: it names each module, and fits on a screen."""
    folder = ROOT / name.replace(".", "/")
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    text = ast.get_docstring(tree) or ""
    assert 1 <= len(text.splitlines()) <= LONGEST_MAP
    entries = re.findall(r"[\w*]+", text)
    modules = [path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")]
    assert [name for name in modules if not any(fnmatch(name, entry) for entry in entries)] == []


def test_private_names_stay_in_their_package():
    """A name with a leading underscore, of a module too, is not imported from another package."""
    crossing = [
        f"{module}: {node.module}.{alias.name}"
        for module, path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("attn")
        for alias in node.names
        if is_private(f"{node.module}.{alias.name}")
        and home(f"{node.module}.{alias.name}") != module.rpartition(".")[0]
    ]
    assert crossing == []


def is_private(name):
    return any(part.startswith("_") and not part.endswith("__") for part in name.split("."))


def home(name):
    """Return the package in which the first private part of a dotted name stands."""
    parts = name.split(".")
    first = next(i for i, part in enumerate(parts) if part.startswith("_"))
    package = ".".join(parts[:first])
    return package if package in ("attn", *PACKAGES) else package.rpartition(".")[0]


def test_folders_are_small():
    """A folder holds few things of one kind, also of tests, of benchmarks and of the page."""
    paths = [path for root in SOURCES for path in (ROOT / root).rglob("*")]
    kinds = Counter(
        (path.parent, path.suffix)
        for path in paths
        if path.suffix in (".py", ".js", ".css") and path.name != "__init__.py"
    )
    assert {(ROOT / root, ".py") for root in SOURCES[:2]} <= kinds.keys()
    assert [str(folder) for (folder, _), count in kinds.items() if count > LARGEST_FOLDER] == []


def test_files_are_short():
    """A file is about one thing, so that few are long."""
    lengths = {name: path.read_text("utf-8").count("\n") for name, path in sources()}
    assert [name for name, length in lengths.items() if length > LONGEST_FILE] == []
    assert median(lengths.values()) <= MIDDLING_FILE


WORDS = ("gated", "hf")
"""Names of families that mean something else, too, unless they are quoted or an option's value."""
FAMILY_HOMES = (
    "backends/families/",
    "backends/builtin.py",
    "checkpoints/",
    "demo/",
)


def test_families_are_named_at_home():
    """Facts of a family stand with it: nothing else knows its name."""
    root, names = Path(attn.__file__).parent, {spec.name for spec in attn_backends()}
    assert names >= {"sdxl", *WORDS}
    alone, words = "|".join(names - set(WORDS)), "|".join(WORDS)
    pattern = rf"\b(?:{alone})\b|[\"'`](?:{words})[\"'`]|--backend (?:{words})\b"
    named = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(pattern, path.read_text(encoding="utf-8"))
    }
    assert sorted(name for name in named if not name.startswith(FAMILY_HOMES)) == []


def test_a_family_is_a_file():
    """No module knows the file of a family in `checkpoints`: all of them go through the folder."""
    folder = "attn.checkpoints.families"
    imports = [
        f"{module}: {node.module}"
        for module, path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{folder}.")
    ]
    assert imports == []
    assert families().keys() <= {spec.name for spec in attn_backends()}


def test_filters_of_warnings_are_set_in_one_module():
    """They are those of a user's other threads too, and may stay after blocks that overlap."""
    setting = [
        module
        for module, path in sources()
        if re.search(r"filterwarnings|simplefilter|catch_warnings", path.read_text("utf-8"))
    ]
    assert setting == ["attn.library_warnings"]


def test_names_are_of_the_field():
    """Words that could stand for anything are rare among the names of the package."""
    names = [
        token.string.lower()
        for _, path in sources()
        for token in tokenize.generate_tokens(StringIO(path.read_text("utf-8")).readline)
        if token.type == tokenize.NAME and not keyword.iskeyword(token.string)
    ]
    vague = [name for name in names if VAGUE.intersection(name.split("_"))]
    assert 10_000 * len(vague) / len(names) <= MOST_VAGUE


def test_class_names_are_unique():
    """No two classes share a name, so that a name leads to one of them."""
    classes = Counter(
        node.name
        for _, path in sources()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in classes.items() if count > 1] == []
