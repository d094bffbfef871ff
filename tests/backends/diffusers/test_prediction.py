"""What a UNet predicts: said by the user, the file or the folder, and kept in every sampler."""

import json

import pytest
import torch

from attn import demo
from attn.errors import RequestError
from attn.schema import Request
from tests.helpers.models.opening import SMALL, changed, opening, picture
from tests.helpers.toy_sessions import remarks

V = {
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


def sampling(session, scheduler=None):
    """Return what a session's sampler is set to, as far as prediction is concerned."""
    request = session.complete(Request("a cat", **SMALL, scheduler=scheduler))
    with session._scheduled(request):
        return {name: session.pipe.scheduler.config.get(name) for name in V}


def mark(name):
    """Return a change that adds an empty tensor as a marker."""
    return lambda state: state.update({name: torch.zeros(0)})


def both(state):
    """Mark a file as v-prediction with zero-terminal SNR."""
    mark("v_pred")(state)
    mark("ztsnr")(state)


@pytest.mark.parametrize("scheduler", [None, "ddim", "eulerancestral", "dpmsolvermultistep"])
@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_v_prediction_by_option(saved, name, scheduler):
    """`prediction=v` sets all that belongs to it, and holds in every sampler that can do it."""
    backend, path, settings = saved(name, "file")
    session = opening(backend, path, prediction="v", **settings)
    assert sampling(session, scheduler) == V


def test_v_prediction_of_a_folder(copied, saved):
    """A folder's scheduler is taken as it is; the option wins over it; a file's mark as well."""
    folder = copied("sdxl")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | V))
    session = opening("sdxl", folder)
    assert (sampling(session), session.warnings) == (V, ())
    requested = sampling(opening("sdxl", folder, prediction="epsilon"))
    assert (requested["prediction_type"], requested["rescale_betas_zero_snr"]) == ("epsilon", False)
    assert sampling(opening("sdxl", demo.checkpoint("sdxl"), prediction="v")) == V
    from_config = opening("sdxl", saved("sdxl", "file")[1], config=str(folder))
    assert (sampling(from_config), from_config.warnings) == (V, ())


def test_v_prediction_of_a_loaded_pipeline(toys):
    """A loaded pipeline is sampled as asked, and has its own scheduler back afterwards."""
    pipe = toys("sdxl")
    own = pipe.scheduler
    session = opening("sdxl", pipe, prediction="v")
    assert sampling(session) == V
    assert picture(session).shape == (64, 96, 3)
    assert pipe.scheduler is own


@pytest.mark.parametrize(
    ("change", "metadata", "expected"),
    [
        (both, None, V),
        (mark("v_pred"), None, {"prediction_type": "v_prediction", "timestep_spacing": "leading"}),
        (
            lambda state: None,
            {"modelspec.prediction_type": "v"},
            {"prediction_type": "v_prediction"},
        ),
        (
            lambda state: None,
            {"modelspec.prediction_type": "epsilon"},
            {"prediction_type": "epsilon"},
        ),
    ],
)
def test_what_a_file_says(saved, tmp_path, change, metadata, expected):
    """`auto` believes the marks and metadata of a file, and says what they leave open."""
    backend, path, settings = saved("sdxl", "file")
    other = changed(path, tmp_path, change, metadata)
    session = opening(backend, other, **settings)
    assert sampling(session).items() >= expected.items()
    is_unsure = expected["prediction_type"] == "v_prediction" and expected is not V
    assert [warning.partition(",")[0] for warning in session.warnings] == (
        ["the file says v-prediction"] if is_unsure else []
    )


def test_file_that_does_not_say(saved):
    """Where a file says nothing, epsilon is assumed, and that is said with the option."""
    path = saved("sdxl", "parts")[2]["unet"]
    session = opening("sdxl", "demo", unet=path)
    assert sampling(session)["prediction_type"] == "epsilon"
    assert session.warnings == (
        "the file does not say what its UNet predicts; epsilon is assumed. If the picture is "
        "nothing but noise, set prediction to the other of epsilon and v",
    )


def test_schedulers_without_zero_snr(saved):
    """A sampler that cannot begin with pure noise is refused by name; as default it gives way."""
    backend, path, settings = saved("sd15", "file")
    session = opening(backend, path, prediction="v", **settings)
    assert remarks(session, Request("a red cat", scheduler="euler", **SMALL)) == ()
    assert remarks(session, Request("a red cat", **SMALL)) == (
        "PNDMScheduler cannot begin with pure noise (zero-terminal SNR); DDIMScheduler is used "
        "unless --scheduler names another",
    )
    for name in ("pndm", "heun"):
        with pytest.raises(RequestError) as error:
            sampling(session, name)
        assert str(error.value) == (
            f"scheduler '{name}' cannot begin with pure noise (zero-terminal SNR), which this "
            "model was trained to; those that can are ddim, ddpm, dpmsolvermultistep, euler, "
            "eulerancestral, unipcmultistep"
        )
    assert type(opening(backend, path, **settings).pipe.scheduler).__name__ == "PNDMScheduler"
