"""Packages with plugins, really on disk; demo models that a test may break."""

import shutil
import socket
import sys
from functools import cache
from importlib.metadata import distributions

import pytest

from attn.backends.plugins import registry
from attn.backends.types import Placement

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

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "distributions", lambda: distributions(path=[str(tmp_path)]))
    monkeypatch.delenv("ATTN_DISABLE_PLUGINS", raising=False)
    registry.installed.cache_clear()
    yield write
    registry.installed.cache_clear()
    for name in set(sys.modules) - loaded:
        if name.startswith("attn_"):
            del sys.modules[name]


@pytest.fixture(scope="session")
def planned(demo_cache, tmp_path_factory):
    """Open a model of a published configuration to plan: `planned("sd35", "sd35-large")`."""
    from attn import demo
    from attn.backends import find, load
    from attn.checkpoints.probe import CONFIGS

    def session(backend, config):
        folder = tmp_path_factory.mktemp(backend) / "model"
        shutil.copytree(CONFIGS / config, folder)
        for tokenizer in demo.checkpoint(backend).glob("tokenizer*"):
            shutil.copytree(tokenizer, folder / tokenizer.name)
        family = load(find(backend))
        return family.open(folder, family.Options(), Placement(weights=False))

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


@pytest.fixture(scope="session")
def toys(demo_cache):
    """Return a demo model as a pipeline; do not change it."""
    from diffusers import DiffusionPipeline

    from attn import demo
    from attn.backends.loading.quiet import quiet

    @cache
    def load_once(name):
        with quiet():
            return DiffusionPipeline.from_pretrained(demo.checkpoint(name), local_files_only=True)

    return load_once


@pytest.fixture(scope="session")
def saved(toys, tmp_path_factory):
    """Save a demo model in a layout, and return (backend, model, settings) that open it."""
    from attn import demo
    from tests.helpers.models import layouts
    from tests.helpers.models.opening import COMPONENTS

    @cache
    def whole(name, prefix):
        write = layouts.sai if name.startswith("sd35") else layouts.ldm
        path = tmp_path_factory.mktemp("file") / "model.safetensors"
        return layouts.write(write(toys(name), prefix=prefix), path)

    @cache
    def parts(name):
        files = layouts.parts(toys(name), tmp_path_factory.mktemp("parts"))
        return {part: str(path) for part, path in files.items()}

    def save(name, layout):
        backend, folder = name.partition(":")[0], demo.checkpoint(name)
        denoiser = "dit" if backend == "sd35" else "unet"
        model, given = {
            "folder": lambda: (folder, {}),
            "file": lambda: (whole(name, True), {}),
            "bare file": lambda: (whole(name, False), {}),
            "parts": lambda: (None, parts(name)),
            "part folders": lambda: (
                None,
                {part: str(folder / COMPONENTS[part]) for part in parts(name)},
            ),
            "mixture": lambda: (
                None,
                parts(name) | {"vae": str(whole(name, True)), "clip_l": str(folder)},
            ),
            "folder and parts": lambda: (
                folder,
                {part: parts(name)[part] for part in (denoiser, "vae")},
            ),
        }[layout]()
        # the demo models are of no published size
        return backend, model, given if model == folder else given | {"config": str(folder)}

    return save
