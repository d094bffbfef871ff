"""The public face of the package: its names, and what it costs to look at it."""

import os
import pkgutil
import subprocess
import sys

import pytest

import attn

HEAVY = ("torch", "diffusers", "transformers", "numpy", "matplotlib", "xarray", "jaxtyping")

PROBE = f"""
import sys
from attn.cli import main
try:
    main()
except SystemExit as exit:
    assert not exit.code, exit.code
print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


def test_names():
    """Every public name resolves, and there are few enough to read."""
    assert len(attn.__all__) <= 20
    for name in attn.__all__:
        assert getattr(attn, name) is not None


def test_dir():
    """Completion in a shell offers the public names."""
    assert dir(attn) == sorted(attn.__all__)


def test_unknown_name():
    """A name that does not exist is an AttributeError, as in any module."""
    with pytest.raises(AttributeError, match="module 'attn' has no attribute 'captrue'"):
        attn.captrue  # noqa: B018


def test_no_module_takes_a_public_name():
    """Importing a submodule would put it where the public function is expected."""
    modules = {module.name for module in pkgutil.iter_modules(attn.__path__)}
    assert modules.isdisjoint(attn.__all__)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["backends"]])
def test_light_commands(arguments):
    """Help, version and the list of backends answer at once: nothing heavy is imported."""
    result = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        env=os.environ | {"ATTN_DISABLE_PLUGINS": "all"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout
    assert result.stderr == "[]\n"


def test_import_is_free():
    """`import attn` alone loads none of its own modules."""
    probe = "import sys, attn; print([name for name in sys.modules if name.startswith('attn.')])"
    result = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"
