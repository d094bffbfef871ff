"""Open demo models in every layout, for the tests of what can be loaded."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from attn.backends import find, load
from attn.backends.types import Placement
from attn.checkpoints.probe import CONFIGS
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
    "qwen3vl": "text_encoder",
    "gemma2": "text_encoder",
    "clip_h": "text_encoder",
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


def differing(backend, first, second, parts=("transformer", "vae", "text_encoder")):
    """Open a model from two sources, each (model, settings); return weights that are not equal."""
    models = [opening(backend, model, **settings).pipe for model, settings in (first, second)]
    states = [
        {f"{part}.{name}": value for part in parts for name, value in _weights(model, part)}
        for model in models
    ]
    assert states[0].keys() == states[1].keys()
    return [name for name in states[0] if not torch.equal(states[0][name], states[1][name])]


def _weights(model, part):
    return getattr(model, part).state_dict().items()


def lay_out(target, config, *tokenizers):
    """Put the configuration of a published model and its tokenizers into a new folder."""
    target.mkdir()
    for source in (*(CONFIGS / config).iterdir(), *tokenizers):
        (target / source.name).symlink_to(source)
    return target
