"""Warnings of libraries are left out in processes of ours, and nothing else is."""

import warnings

import pytest

from attn.library_warnings import hush_libraries


@pytest.mark.parametrize(
    ("module", "shown"),
    [
        ("diffusers.models.embeddings", 0),
        ("PIL.TiffImagePlugin", 0),
        ("pillows", 1),
        ("user.PIL.module", 1),
    ],
)
def test_libraries_are_hushed_and_nobody_else(module: str, shown: int) -> None:
    """A user's own warnings stay, whatever modules are called that ours are near to."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        hush_libraries()
        warnings.warn_explicit("soon gone", FutureWarning, "file.py", 7, module=module)
    assert len(told) == shown
