"""The built wheel, installed beside a stranger's package."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def python(*arguments: str, cwd: Path, path: Path | None = None) -> str:
    """Run this interpreter and return what it printed; `path` is looked in first."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(cwd)}
    if path is not None:
        environment |= {"PYTHONPATH": str(path), "ATTN_CACHE": str(path / "cache")}
    command = [sys.executable, "-W", "ignore", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=cwd, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    python(*pip, "--wheel-dir", str(folder), str(ROOT), cwd=folder)
    return next(folder.glob("attn-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel and the plugin `attn-echo` are installed."""
    target = tmp_path_factory.mktemp("installed")
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    echo = ROOT / "tests" / "plugins" / "attn-echo"
    python(*pip, "--target", str(target), str(wheel), str(echo), cwd=target)
    return target


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """The wheel has every module, configuration, weight and the type marker, and no tests."""
    names = zipfile.ZipFile(wheel).namelist()
    kinds = ("*.py", "*.json", "*.safetensors")
    sources = {
        str(path.relative_to(ROOT)) for kind in kinds for path in (ROOT / "attn").rglob(kind)
    }
    assert sources | {"attn/py.typed"} <= set(names)
    assert [name for name in names if not name.startswith("attn")] == []
    assert [name for name in names if "__pycache__" in name or "/tests/" in name] == []


def test_a_strangers_backend_is_listed_with_its_package(installed: Path) -> None:
    """`attn backends` finds the plugin through its entry point and says whose it is."""
    lines = python("-m", "attn", "backends", path=installed, cwd=installed).splitlines()
    echo = next(line for line in lines if line.startswith("echo "))
    assert echo.split("  ")[-1].strip() == "attn-echo 0.1.0"
    names = [line.split()[0] for line in lines]
    assert names == ["BACKEND", "echo", "gated", "mmada", "sd15", "sd35", "sdxl"]


def test_a_strangers_backend_captures(installed: Path) -> None:
    """The plugin's model runs through the whole tool: capture, analysis, files on disk."""
    arguments = ("capture", "-b", "echo", "-p", "a red cat", "--analyze", "-o", "run")
    output = python("-m", "attn", *arguments, path=installed, cwd=installed)
    assert output.splitlines()[0] == "1 trace in run"
    assert (installed / "run" / "trace.json").is_file()
    assert list((installed / "run" / "analysis").rglob("*.csv"))
