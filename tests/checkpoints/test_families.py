"""What is known of families without torch, against what they are with it."""

import pytest

from attn.backends import find, load
from attn.checkpoints.families import families


@pytest.mark.parametrize("name", sorted(name for name, files in families().items() if files.parts))
def test_parts_and_loras(name):
    """A family says the same of its parts and LoRAs where torch is not imported."""
    files, backend = families()[name], load(find(name))
    assert tuple(part.name for part in backend.family.parts) == files.parts
    assert tuple(part.name for part in backend.family.parts if part.optional) == files.optional
    assert {cls.__name__ for cls in backend.pipelines} >= set(files.pipelines)
    kinds = tuple(kind.name for kind in files.loras)
    assert not kinds or backend.session.lora_families[: len(kinds)] == kinds
