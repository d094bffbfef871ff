"""Packages with plugins, really on disk; demo models that a test may break."""

import shutil
import socket
import sys
from importlib.metadata import EntryPoints, distributions

import pytest

from attn.backends import manager

HEAD = """
from attn import hookimpl
from attn.backends import Backend, BackendSpec

def load():
    raise ImportError("No module named 'flux'")

"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package of one module, by its name and code, where only such packages are found."""
    loaded = set(sys.modules)

    def write(name, code):
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(HEAD + code)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[attn]\n{name.removeprefix('attn-')} = {module}\n")

    def entry_points(group):
        folder = distributions(path=[str(tmp_path)])
        found = EntryPoints(entry for one in folder for entry in one.entry_points)
        return found.select(group=group)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(manager, "entry_points", entry_points)
    monkeypatch.delenv("ATTN_DISABLE_PLUGINS", raising=False)
    manager.installed.cache_clear()
    yield write
    manager.installed.cache_clear()
    for name in set(sys.modules) - loaded:
        if name.startswith("attn_"):
            del sys.modules[name]


@pytest.fixture(scope="session")
def planned(demo_cache, tmp_path_factory):
    """Open a model of a published configuration to plan: `planned("sd35", "sd35-large")`."""
    from attn import demo
    from attn.backends import find, load
    from attn.backends._probe import CONFIGS

    def session(backend, config):
        folder = tmp_path_factory.mktemp(backend) / "model"
        ignored = shutil.ignore_patterns("*.safetensors")
        shutil.copytree(demo.checkpoint(backend), folder, ignore=ignored)
        name = "transformer" if backend == "sd35" else "unet"
        shutil.copy(CONFIGS / config / name / "config.json", folder / name)
        family = load(find(backend))
        return family.open(folder, family.Options(), weights=False)

    return session


@pytest.fixture
def copied(demo_cache, tmp_path):
    """Copy a demo model to a folder that the test may change."""
    from attn import demo

    return lambda name: shutil.copytree(demo.checkpoint(name), tmp_path / "model")


@pytest.fixture
def offline(monkeypatch):
    """Make every attempt to reach the network a failure of the test."""
    attempts = []

    def refuse(*arguments):
        attempts.append(arguments)
        raise OSError("the test allows no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert attempts == []


@pytest.fixture
def offer(install):
    """Install a package whose hook returns the value of an expression, at first a backend `toy`."""

    def write(name, specs="[BackendSpec('toy', 'A toy', load)]"):
        install(name, f"@hookimpl\ndef attn_backends():\n    return {specs}\n")

    return write
