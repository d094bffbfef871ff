"""Every family holds to its contract, with its demo model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor

from attn.backends.families.sdxl import SDXLBackend
from attn.backends.testing import (
    CHECKS,
    attention_exact,
    calls_ordered,
    outputs_identical,
    rows_labelled,
    towers_exist,
)
from attn.backends.testing.observe import recorded
from attn.schema import Request
from tests.helpers.toy_sessions import open_session, shared_session

pytestmark = pytest.mark.usefixtures("demo_cache")
REQUEST = Request(
    "a red cat on a wooden-chair, watching",
    negative="blurry, low quality",
    steps=2,
    width=104,
    height=72,
)  # 13 x 9 latent pixels: UNets round up at every level
SIZES = {
    "sd35": {"width": 112, "height": 80},
    "gated": {"width": 112, "height": 80},
    "flux": {"width": 112, "height": 80},
    "pixart": {"width": 112, "height": 80},
    "z-image": {"width": 112, "height": 80},
    "qwen-image": {"width": 112, "height": 80},
    "sana": {"width": 160, "height": 96},
    "chroma": {"width": 112, "height": 80},
    "flux2": {"width": 112, "height": 80},
    "wan": {"width": 112, "height": 80, "frames": 9},
    "mmada": {"width": None, "height": None},
}
"""For models that two latent pixels per token and side must divide, and one that has no size."""
SHORT_TEXT = {"gen_length": 14, "block_length": 7}
SHORT_T5 = {"t5_tokens": 19}
MEDIUM = SHORT_T5 | {"skip_layers": (1,), "skip_stop": 1.0}
SESSIONS = {
    "fake": ("fake", "demo", "float32", {}),
    "sdxl": ("sdxl", "demo", "float32", {}),
    "sd15": ("sd15", "demo", "float32", {}),
    "sd35": ("sd35", "demo", "float32", SHORT_T5),
    "sd35 medium": (
        "sd35",
        "demo:medium",
        "float32",
        MEDIUM,
    ),
    "gated": ("gated", "demo", "float32", SHORT_T5),
    "gated medium": ("gated", "demo:medium", "float32", MEDIUM),
    "flux": ("flux", "demo", "float32", SHORT_T5),
    "flux true_cfg": ("flux", "demo", "float32", SHORT_T5 | {"true_cfg": 3.0}),
    "pixart": ("pixart", "demo", "float32", SHORT_T5),
    "z-image": ("z-image", "demo", "float32", {}),
    "mmada": ("mmada", "demo", "float32", SHORT_TEXT),
    "fake bfloat16": ("fake", "demo", "bfloat16", {}),
    "fake float16": ("fake", "demo", "float16", {}),
    "sdxl bfloat16": ("sdxl", "demo", "bfloat16", {}),
    "gated bfloat16": ("gated", "demo", "bfloat16", SHORT_T5),
    "flux true_cfg bfloat16": ("flux", "demo", "bfloat16", SHORT_T5 | {"true_cfg": 3.0}),
    "pixart bfloat16": ("pixart", "demo", "bfloat16", SHORT_T5),
    "qwen-image": ("qwen-image", "demo", "float32", {}),
    "qwen-image bfloat16": ("qwen-image", "demo", "bfloat16", {}),
    "z-image bfloat16": ("z-image", "demo", "bfloat16", {}),
    "sana": ("sana", "demo", "float32", {}),
    "sana bfloat16": ("sana", "demo", "bfloat16", {}),
    "sd2": ("sd2", "demo", "float32", {}),
    "sd2 bfloat16": ("sd2", "demo", "bfloat16", {}),
    "chroma": ("chroma", "demo", "float32", SHORT_T5),
    "chroma bfloat16": ("chroma", "demo", "bfloat16", SHORT_T5),
    "flux2": ("flux2", "demo", "float32", {"qwen3_tokens": 29}),
    "flux2 bfloat16": ("flux2", "demo", "bfloat16", {"qwen3_tokens": 29}),
    "wan": ("wan", "demo", "float32", {"umt5_tokens": 19}),
    "wan bfloat16": ("wan", "demo", "bfloat16", {"umt5_tokens": 19}),
    "mmada bfloat16": ("mmada", "demo", "bfloat16", SHORT_TEXT),
    "sd35 medium bfloat16": ("sd35", "demo:medium", "bfloat16", SHORT_T5),
}
ONE_WAY = ("flux", "z-image")
"""Families of which a guidance of 1 runs as many rows as any other."""
NUMBERS = (outputs_identical, attention_exact, rows_labelled)
"""Checks that follow the number format; they take longest."""


def tells_more(check, session, guidance):
    """Whether a check can tell more of a case than of the other cases of its family.

    Modules, grids, tokens and hooks are the same in every number format, with guidance and without.
    Numbers meet guidance in the other format, and in float32 none, where a family has two.
    """
    name, _, dtype, _ = SESSIONS[session]
    is_float32, is_twin = dtype == "float32", f"{session} bfloat16" in SESSIONS
    if check in NUMBERS:
        return (guidance > 1) != (is_float32 and is_twin and name not in ONE_WAY)
    return is_float32 and (guidance > 1 or check is calls_ordered)


CASES = [
    pytest.param(
        *(check, session, guidance),
        id=f"{check.__name__}-{session}-guidance {guidance}",
        marks=[pytest.mark.slow] if check in NUMBERS and "fake" not in session else [],
    )
    for session in SESSIONS
    for guidance in (5.0, 1.0)
    if guidance > 1 or SESSIONS[session][0] not in ONE_WAY
    for check in CHECKS
    if tells_more(check, session, guidance)
]


@pytest.mark.parametrize(("check", "session", "guidance"), CASES)
def test_family_conforms(check, session, guidance):
    """Each check of the shipped kit passes for each family, with guidance and without."""
    name, source, dtype, options = SESSIONS[session]
    opened = shared_session(name, source, dtype, **options)
    check(opened, replace(REQUEST, guidance=guidance, **SIZES.get(name, {})))


@pytest.mark.parametrize("scheduler", ["heun", "pndm", "lms"])
def test_other_samplers_conform(scheduler):
    """Samplers that call the model twice in a step, or once more, are announced rightly."""
    request = replace(REQUEST, steps=3, scheduler=scheduler, guidance=1.0)
    for check in (towers_exist, calls_ordered, outputs_identical):
        check(shared_session("sd15"), request)


@pytest.mark.slow
def test_legacy_processors_conform():
    """A UNet whose processors compute the softmax in the open is captured by it."""
    session = open_session("sdxl")
    session.pipe.unet.set_attn_processor(AttnProcessor())
    for check in (outputs_identical, attention_exact, rows_labelled):
        check(session, replace(REQUEST, steps=1))


@pytest.mark.slow
def test_softmax_in_float64_conforms(monkeypatch):
    """Rows of a softmax that the model computes in float64 are held to the bar of float32."""

    def scores(layer, query, key, attention_mask=None):
        logits = layer.scale * query.double() @ key.double().mT
        return logits.softmax(-1).to(query.dtype)

    monkeypatch.setattr(Attention, "get_attention_scores", scores)
    session = open_session("sdxl")
    session.pipe.unet.set_attn_processor(AttnProcessor())
    attention_exact(session, replace(REQUEST, steps=1))


def lora_weights(unet):
    """Return a LoRA on the queries and keys of all cross-attention, as peft saves it."""
    generator = torch.Generator().manual_seed(5)
    weights = {}
    for path, module in unet.named_modules():
        if path.endswith(("attn2.to_q", "attn2.to_k")):
            out, into = module.weight.shape
            weights[f"unet.{path}.lora_A.weight"] = torch.randn(4, into, generator=generator)
            weights[f"unet.{path}.lora_B.weight"] = torch.randn(out, 4, generator=generator) / 10
    return weights


@pytest.mark.slow
def test_active_lora_is_captured():
    """With a LoRA loaded the picture stays identical, and its attention is what is captured."""
    session = open_session("sdxl")
    plain = recorded(session, [session.complete(REQUEST)], "mass", mass_only=True).tensors[0, 0]
    session.pipe.load_lora_weights(lora_weights(session.pipe.unet), adapter_name="test")
    adopted = SDXLBackend().open(session.pipe, session.options)
    outputs_identical(adopted, REQUEST)
    attention_exact(adopted, REQUEST)
    lora = recorded(adopted, [adopted.complete(REQUEST)], "mass", mass_only=True).tensors[0, 0]
    assert max(np.abs(lora[name] - plain[name]).max() for name in plain) > 1e-2
    session.pipe.set_adapters("test", 0.0)
    off = recorded(adopted, [adopted.complete(REQUEST)], "mass", mass_only=True).tensors[0, 0]
    assert max(np.abs(off[name] - plain[name]).max() for name in plain) <= 1e-5
