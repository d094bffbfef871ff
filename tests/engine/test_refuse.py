"""What cannot be captured exactly is refused before time is spent, with the way out."""

import types
from dataclasses import replace

import accelerate
import numpy as np
import pytest
import torch
from diffusers.models.attention_dispatch import (
    AttentionBackendName,
    _AttentionBackendRegistry,
    attention_backend,
)
from torch import nn
from torch.cuda import graphs

from attn.backends.testing.observe import recorded, same_outputs
from attn.engine.refuse import refuse_unobservable
from attn.errors import CaptureError
from attn.schema import Request
from tests.helpers.toy_attention import Attend, record_session
from tests.helpers.toy_sessions import open_session

pytestmark = pytest.mark.usefixtures("demo_cache")
PROMPT = Request("a red cat", steps=2, width=96, height=64)


def toy():
    """Return a model with one attention module."""
    return nn.Sequential(nn.Identity(), Attend())


def test_plain_model_is_allowed():
    """A model as torch runs it is not refused."""
    refuse_unobservable(toy(), "denoiser")


def test_compiled_in_place_is_refused():
    """`model.compile()` runs past every hook."""
    model = toy()
    model.compile(backend="eager")
    with pytest.raises(CaptureError, match="cannot capture denoiser: it is compiled"):
        refuse_unobservable(model, "denoiser")


def test_compiled_wrapper_is_refused():
    """`torch.compile(model)` too, and the message says how to get the model back."""
    with pytest.raises(
        CaptureError, match=r"pass the module that was compiled \(`model\._orig_mod`\)"
    ):
        refuse_unobservable(torch.compile(toy(), backend="eager"), "denoiser")


def test_compiled_part_is_refused():
    """Of a model that is compiled in part, the part is named."""
    model = toy()
    model[1].compile(backend="eager")
    with pytest.raises(CaptureError, match=r"cannot capture denoiser\.1: it is compiled"):
        refuse_unobservable(model, "denoiser")


def test_sequential_offload_on_cpu_is_refused():
    """Weights that accelerate loads layer by layer on the CPU are refused."""
    model = nn.Sequential(nn.Linear(3, 5))
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    with pytest.raises(
        CaptureError, match=r"denoiser\.0: sequential offload .*remove_all_hooks\(\)"
    ):
        refuse_unobservable(model, "denoiser")


def test_device_map_is_captured(tmp_path):
    """A denoiser of which accelerate keeps parts on the disk gives the bits of the whole one."""
    session, mapped = open_session("sd15"), open_session("sd15")
    unet = mapped.pipe.unet
    places = {name: ("cpu", "disk")[at % 2] for at, (name, _) in enumerate(unet.named_children())}
    accelerate.dispatch_model(unet, places, offload_dir=tmp_path, force_hooks=True)
    assert {parameter.device.type for parameter in unet.parameters()} == {"cpu", "meta"}
    mapped.check()
    refuse_unobservable(unet, "unet")
    request = session.complete(replace(PROMPT, steps=1))
    whole, parts = (recorded(of, [request], "maps") for of in (session, mapped))
    assert same_outputs(whole.outputs, parts.outputs)
    assert whole.tensors.keys() == parts.tensors.keys()
    for key, tensors in whole.tensors.items():
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(parts.tensors[key][name], tensor, name)


class Sharded(nn.Parameter):
    """A weight of which a process has a part, as torch's `DTensor` is."""

    device_mesh = None


@pytest.mark.parametrize("shared", ["model", "processor", "weights"])
def test_parallel_processes_are_refused(shared):
    """Where several processes share a model each has a part of the heads or of the rows."""
    model = toy()
    if shared == "weights":
        model[1].weight = Sharded(torch.zeros(3))
    elif shared == "model":
        model[1]._parallel_config = "a config"
    else:
        model[1].processor = type("Processor", (), {"_parallel_config": "a config"})()
    with pytest.raises(CaptureError, match=r"denoiser\.1: several processes share it"):
        refuse_unobservable(model, "denoiser")


def test_sequential_offload_among_other_hooks_is_refused():
    """The same, where another of accelerate's hooks was there before."""
    model = nn.Linear(3, 5)
    accelerate.hooks.add_hook_to_module(model, accelerate.hooks.ModelHook())
    offload = accelerate.hooks.AlignDevicesHook(
        torch.device("cpu"), offload=True, weights_map=model.state_dict()
    )
    accelerate.hooks.add_hook_to_module(model, offload, append=True)
    with pytest.raises(CaptureError, match="sequential offload"):
        refuse_unobservable(model, "denoiser")


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        (
            {"_attention_backend": "flash"},
            r"backend is flash, .*set_attention_backend\('native'\)",
        ),
        ({"_attention_backend": "_native_npu"}, "its attention backend is _native_npu"),
        ({"slice_size": 2}, r"call pipe\.disable_attention_slicing\(\)"),
    ],
)
def test_foreign_attention_is_refused(processor, message):
    """Attention that another library computes is named, with the call that undoes it."""
    model = toy()
    model[1].processor = type("Processor", (), processor)()
    with pytest.raises(CaptureError, match=message):
        refuse_unobservable(model, "denoiser")


def test_xformers_is_refused():
    """The processors of xformers are known by their name."""
    model = toy()
    model[1].processor = type("XFormersAttnProcessor", (), {})()
    with pytest.raises(CaptureError, match="disable_xformers_memory_efficient_attention"):
        refuse_unobservable(model, "denoiser")


def test_native_backend_is_allowed():
    """Diffusers' own backend is torch's kernel."""
    model = toy()
    model[1].processor = type("Processor", (), {"_attention_backend": "native"})()
    refuse_unobservable(model, "denoiser")


def test_backend_that_another_model_set_is_refused():
    """What was set of one model is what runs in all that say nothing, in a new one too."""
    model = toy()
    model[1].processor = type("Processor", (), {"_attention_backend": None})()
    with attention_backend("native"):
        refuse_unobservable(model, "denoiser")
        _AttentionBackendRegistry.set_active_backend(AttentionBackendName.SAGE)
        with pytest.raises(CaptureError, match="its attention backend is sage"):
            refuse_unobservable(model, "denoiser")


def test_graphs_are_refused():
    """What torch makes of a module's forward with a CUDA graph is known by where it comes from."""
    model = toy()
    model[1].forward = types.FunctionType((lambda: None).__code__, {"__name__": graphs.__name__})
    with pytest.raises(CaptureError, match=r"denoiser\.1: its forward replays a CUDA graph"):
        refuse_unobservable(model, "denoiser")


def test_attention_slicing_is_refused_until_undone():
    """A sliced SDXL is refused, and captured after the call that the message names."""
    session = open_session("sdxl")
    session.pipe.enable_attention_slicing()
    request = session.complete(PROMPT)
    with pytest.raises(CaptureError, match=r"call pipe\.disable_attention_slicing\(\)"):
        record_session(session, [request])
    session.pipe.disable_attention_slicing()
    assert record_session(session, [request])[1]


def test_fused_projections_of_sd35_are_refused():
    """Diffusers' fused projections drop SD3.5's query and key norms: another picture."""
    session = open_session("sd35")
    session.pipe.transformer.fuse_qkv_projections()
    with pytest.raises(CaptureError, match=r"call pipe\.transformer\.unfuse_qkv_projections\(\)"):
        session.check()


def test_unfused_projections_of_sd35_are_allowed():
    """After the call that the message names, the model is captured again."""
    session = open_session("sd35")
    session.pipe.transformer.fuse_qkv_projections()
    session.pipe.transformer.unfuse_qkv_projections()
    session.check()


def test_fused_projections_of_sdxl_are_captured():
    """On SDXL the fused projections are right: captured, and the picture stays the same."""
    session = open_session("sdxl")
    session.pipe.fuse_qkv_projections()
    session.check()
    request = session.complete(PROMPT)
    plain = session.generate([request], None)
    assert same_outputs(plain, recorded(session, [request], "maps").outputs)
