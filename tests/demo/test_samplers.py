"""What samplers draw with a trained demo, as a judge of pictures sees it."""

import numpy as np
import pytest

from attn.demo import judge, scenes
from attn.schema import Request
from tests.helpers.models.opening import opening
from tests.helpers.models.shipped_weights import shipped_weights

CAPTION = "a red star right of a blue circle on a white background"


@pytest.fixture(scope="module")
def session(demo_cache):
    """The trained demo model of SDXL."""
    with shipped_weights():
        return opening("sdxl")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "ddim", "Euler a", "DPM++ 2M Karras", "unipc"])
def test_samplers_draw_the_scene(session, name):
    """Samplers lent by name draw what the caption says, where clipped latents draw noise."""
    request = session.complete(Request(CAPTION, seed=26, steps=12, scheduler=name))
    picture = np.asarray(session.generate([request], None)[0].images[0])
    seen = judge.agreement(scenes.read(CAPTION), judge.find(picture))
    agreed = (seen.background, seen.number, *seen.colors, seen.relation)
    assert (agreed, request.negative) == ((True,) * 5, "")
