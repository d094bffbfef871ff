"""What a report says of runs whose effect is known: a word, a style, and a colour."""

from pathlib import Path

import pytest

import attn
from attn.backends import find, load
from attn.demo import shipped

PROMPT = "a red square left of a purple triangle on a white background"
PACKAGED = Path(shipped.__file__).parent / "weights"
SEEDS, STEPS = range(3), 5


@pytest.fixture(scope="module")
def trained(demo_cache):
    """Open trained demo models, whose weights other tests do not see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped, "WEIGHTS", PACKAGED)
        yield lambda name: load(find(name)).open("demo", load(find(name)).Options())


def compare(session, lora, out):
    """Compare a trained demo without and with a LoRA, from the same noise."""
    return attn.compare(
        lora=[str(lora)], model=session.pipe, backend=session_family(session), prompt=PROMPT,
        seed=SEEDS, steps=STEPS, out=out, only=["words", "layers", "images"], pictures=False,
    )  # fmt: skip
