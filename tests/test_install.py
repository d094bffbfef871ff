"""The built wheel in an empty environment, beside packages of strangers, good and bad."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.helpers.installing import ROOT, Environment, make_environment, pip

pytestmark = pytest.mark.slow
BAD = ("raises", "lacks", "misspelt", "duplicate", "wrong", "slow", "clashing")
GOOD = ("attn-toy", "attn-auraflow")
MYPY = """
[mypy]
strict = true
# the libraries' own types are checked with the source tree; here they would take a minute
disallow_subclassing_any = false
disallow_untyped_decorators = false
[mypy-torch.*,PIL.*,safetensors.*,numpy.*,diffusers.*,transformers.*,accelerate.*,xarray.*]
follow_imports = skip
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--wheel-dir", str(folder), str(ROOT))
    return next(folder.glob("attn-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel and the examples, each installed by pip."""
    environment = make_environment(tmp_path_factory.mktemp("good"))
    environment.install(wheel, *(ROOT / "examples" / name for name in GOOD))
    return environment


@pytest.fixture(scope="module")
def infested(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel, one good package, and all that are not."""
    environment = make_environment(tmp_path_factory.mktemp("bad"))
    bad = (ROOT / "tests" / "plugins" / f"attn-{name}" for name in BAD)
    environment.install(wheel, ROOT / "examples" / "attn-toy", *bad)
    return environment


def members(folder: Path, *kinds: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for kind in kinds for path in folder.rglob(kind)}


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """The wheel has every module, configuration, weight and the type marker, and no tests."""
    names = zipfile.ZipFile(wheel).namelist()
    assert members(ROOT / "attn", "*.py", "*.json", "*.safetensors") | {"attn/py.typed"} <= set(
        names
    )
    assert [name for name in names if not name.startswith("attn")] == []
    assert [name for name in names if "__pycache__" in name or "/tests/" in name] == []
    assert [name for name in names if name.endswith("licenses/LICENSE")] != []


def test_archives_are_small(wheel: Path, tmp_path: Path) -> None:
    """What is uploaded is code and the shipped weights: a change that adds more is noticed."""
    weights = sum(path.stat().st_size for path in (ROOT / "attn").rglob("*.safetensors"))
    code = sum(
        info.file_size
        for info in zipfile.ZipFile(wheel).infolist()
        if not info.filename.endswith(".safetensors")
    )
    assert code < 4_300_000
    assert wheel.stat().st_size < weights + 1_000_000


def test_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """The source archive has what a build needs, no tests, caches or examples, and gives the wheel.

    It is built by the build backend itself, as `python -m build` would.
    """
    import subprocess
    import sys

    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    archive = next(tmp_path.glob("attn-*.tar.gz"))
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
        tar.extractall(tmp_path / "unpacked", filter="data")
    assert {"LICENSE", "README.md", "CHANGELOG.md", "plugins.md", "pyproject.toml"} <= names
    tops = {name.partition("/")[0] for name in names}
    assert tops.isdisjoint({"tests", "benchmarks", "examples", "docs", ".mypy_cache", ".venv"})
    assert [name for name in names if "__pycache__" in name] == []
    pip("wheel", "--wheel-dir", str(tmp_path), str(next((tmp_path / "unpacked").iterdir())))
    again = zipfile.ZipFile(next(tmp_path.glob("*.whl")))
    first = zipfile.ZipFile(wheel)
    assert {item.filename: item.CRC for item in again.infolist()} == {
        item.filename: item.CRC for item in first.infolist()
    }


def test_both_ways_to_run_it(installed: Environment) -> None:
    """`attn` and `python -m attn` are the same command, of the version that the wheel has."""
    assert installed.run("attn", "--version") == "attn 0.1.0\n"
    assert installed.run("attn", "backends") == installed.run("python", "-m", "attn", "backends")
    where = installed.run("python", "-c", "import attn; print(attn.__file__)")
    assert Path(where).is_relative_to(installed.folder)


def test_strangers_backends_are_listed_with_their_packages(installed: Environment) -> None:
    """`attn backends` finds plugins through their entry points and says whose they are."""
    lines = installed.run("attn", "backends").splitlines()
    sources = {line.split()[0]: line.split("  ")[-1].strip() for line in lines[1:]}
    assert sources["toy"] == "attn-toy 1.0"
    assert sources["auraflow"] == "attn-auraflow 0.1.0"
    assert {name for name, source in sources.items() if source == "attn 0.1.0"} >= {"sdxl", "sd35"}


def test_strangers_backends_work_from_the_command_line(
    installed: Environment, tmp_path: Path
) -> None:
    """Both examples run through the whole tool: plan, capture, analysis, comparison."""
    toy = ["capture", "-b", "toy", "-p", "a red cat", "--steps", "3", "--analyze"]
    aura = ["capture", "-b", "auraflow", "--size", "96x64", "--steps", "3", "-p", "a red cat"]
    guided = ["--negative", "a dog", "--branch", "both"]
    answers = installed.commands(
        [*toy, "-o", "toy"],
        [*toy, "-o", "other", "--set", "blocks=3"],
        ["compare", "toy", "other", "--no-pictures", "-o", "both"],
        [*aura, "--dry-run"],
        [*aura, *guided, "-o", "aura", "--set", "t5_tokens=40"],
        ["analyze", "aura", "--no-pictures"],
        cwd=tmp_path,
    )
    assert [answer.code for answer in answers] == [0] * 6, answers
    assert answers[0].stdout.splitlines()[0] == "1 trace in toy"
    assert "  single_transformer_blocks.1.attn  joint, 3 heads, grid 4x6, 288 keys" in (
        answers[3].stdout
    )
    words = (tmp_path / "aura" / "analysis" / "t5" / "tables" / "words_summary.csv").read_text()
    assert [line.split(",")[0] for line in words.splitlines()[1:]] == ["a", "red", "cat"]
    assert (tmp_path / "toy" / "analysis" / "prompt" / "heatmaps" / "words.png").is_file()


def test_examples_pass_their_own_tests(installed: Environment) -> None:
    """The examples' tests, the conformance kit among them, pass against the installed wheel."""
    tests = [str(ROOT / "examples" / name / "tests") for name in GOOD]
    # a configuration of their own, or pytest takes ours
    options = ("-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(ROOT))
    assert " passed" in installed.run("python", "-m", "pytest", *options, *tests)


def test_types_are_exported(installed: Environment, tmp_path: Path) -> None:
    """A strict type check of attn-toy against the installed wheel passes, and sees them."""
    (tmp_path / "mypy.ini").write_text(MYPY)
    mypy = ("python", "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", "cache")
    source = ROOT / "examples" / "attn-toy" / "src"
    (tmp_path / "wrong.py").write_text("import attn\n\nattn.open(3).words.append(1)\n")
    assert installed.run(*mypy, str(source), cwd=tmp_path).startswith("Success")
    with pytest.raises(AssertionError, match=r'"open_trace" has incompatible type "int"'):
        installed.run(*mypy, "wrong.py", cwd=tmp_path)


EXPECTED = """
not usable:
  attn-lacks (plugin 'lacks'): import: ModuleNotFoundError: No module named 'nowhere_to_be_found'; \
if it is yours, add the package of 'nowhere_to_be_found' to its dependencies, else update or \
uninstall attn-lacks, or set ATTN_DISABLE_PLUGINS=attn-lacks
  attn-misspelt (plugin 'misspelt'): register: got a hook 'attn_backend', expected \
attn_backends() without arguments, marked with @attn.hookimpl. Did you mean 'attn_backends'?; if \
it is yours, rename the function, else update or uninstall attn-misspelt, or set \
ATTN_DISABLE_PLUGINS=attn-misspelt
  attn-raises (plugin 'raises'): import: RuntimeError: no licence file; if it is yours, run python \
-c "import attn_raises; attn_raises.attn_backends()", else update or uninstall attn-raises, or set \
ATTN_DISABLE_PLUGINS=attn-raises
  attn-wrong (plugin 'wrong'): attn_backends: got {'name': 'wrong'}, expected a list of \
BackendSpec; if it is yours, return a list of BackendSpec, else update or uninstall attn-wrong, or \
set ATTN_DISABLE_PLUGINS=attn-wrong
  attn-duplicate (plugin 'duplicate'): names: 'sdxl' of backend 'sdxl' is also a name of backend \
'sdxl' from attn 0.1.0; if it is yours, rename it, else update or uninstall attn-duplicate, or set \
ATTN_DISABLE_PLUGINS=attn-duplicate

slow to load:
  attn-slow 1.0: N s; its author should move imports and work into BackendSpec.load
"""


def test_bad_plugins_are_named_and_cost_nobody_else(infested: Environment) -> None:
    """Seven bad packages: `attn backends` says of each what is wrong; all others stay usable."""
    import re

    printed = infested.run("attn", "backends")
    table, _, rest = printed.partition("\n\n")
    names = [line.split()[0] for line in table.splitlines()[1:]]
    assert set(names) >= {"clashing", "sd35", "sdxl", "slow", "spare", "toy"}
    assert set(names).isdisjoint({"raises", "lacks", "misspelt", "wrong"})
    assert "an impostor" not in table
    assert f"\n{re.sub(r'[0-9.]+ s;', 'N s;', rest)}" == EXPECTED


def test_bad_plugins_do_not_break_other_commands(infested: Environment, tmp_path: Path) -> None:
    """Captures run beside them; asking for a broken one says why; clashing options stay apart."""
    clashing = ["capture", "-b", "clashing", "-p", "a cat", "--steps", "2", "-o", "run"]
    answers = infested.commands(
        ["capture", "-b", "toy", "-p", "a red cat", "--steps", "2", "-o", "toy"],
        ["capture", "-b", "lacks", "-p", "a red cat"],
        ["capture", "-b", "misspelt", "-p", "a red cat"],
        [*clashing, "--set", "steps=few", "--set", "prompt=a dog"],
        cwd=tmp_path,
    )
    assert [answer.code for answer in answers] == [0, 2, 2, 0], answers
    assert "backend 'lacks' is installed but cannot be used: attn-lacks" in answers[1].stderr
    assert "got a hook 'attn_backend', expected attn_backends()" in answers[2].stderr
    manifest = (tmp_path / "run" / "trace.json").read_text()
    assert '"prompt":"a cat"' in manifest.replace(" ", "").replace("acat", "a cat")
    assert '"steps":"few"' in manifest.replace(" ", "")
