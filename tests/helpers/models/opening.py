"""Open demo models in every layout, for the tests of what can be loaded."""

import numpy as np
import pytest
from safetensors.torch import load_file

from attn.backends import find, load
from attn.backends.types import Placement
from attn.errors import ModelError
from attn.schema import Request
from tests.helpers.models import layouts

MODELS = ("sd15", "sdxl", "sd35", "sd35:medium")
LAYOUTS = ("file", "bare file", "parts", "part folders", "mixture", "folder and parts")
SMALL = {"steps": 2, "width": 96, "height": 64}
COMPONENTS = {
    "unet": "unet",
    "dit": "transformer",
    "vae": "vae",
    "clip_l": "text_encoder",
    "clip_g": "text_encoder_2",
    "t5xxl": "text_encoder_3",
    "qwen3": "text_encoder",
    "qwen25vl": "text_encoder",
}


def opening(backend, model=None, *, weights=True, dtype="auto", **settings):
    """Open a model as `capture` does."""
    family = load(find(backend))
    options = family.Options(**settings)
    source = family.default_model(options) if model is None else model
    return family.open(source, options, Placement("cpu", dtype, weights=weights))


def refusal(backend, model=None, **settings):
    """Return what opening a model is refused with."""
    with pytest.raises(ModelError) as error:
        opening(backend, model, **settings)
    return str(error.value)


def picture(session, **request):
    """Generate one small picture without capture."""
    requested = session.complete(Request("a red cat", negative="dog", **SMALL, **request))
    return np.asarray(session.generate([requested], None)[0].images[0])


def changed(path, target, change, metadata=None):
    """Write a changed copy of a checkpoint file."""
    state = load_file(path)
    change(state)
    return layouts.write(state, target / "changed.safetensors", metadata)
