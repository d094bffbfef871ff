"""The scripts of the benchmarks follow the code that they measure."""

import importlib
import pkgutil

import pytest

import benchmarks

MODULES = [
    module.name
    for module in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_it_can_be_imported(name):
    """A script whose imports have moved is noticed before somebody wants its figures."""
    importlib.import_module(name)
