"""The family of plugins.md, as its page has it: outside of the package, on the public base."""

import re
import sys
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer, T5EncoderModel

import attn
from attn import demo
from attn.backends.testing import CHECKS
from attn.backends.types import Placement
from attn.errors import AttnError
from attn.schema import Request

PAGE = (Path(__file__).parents[3] / "plugins.md").read_text(encoding="utf-8")
CODE = re.search(r"## A diffusers family in 60 lines.*?^```python\n(.*?)^```$", PAGE, re.M | re.S)[
    1
]
HOOK = """
@hookimpl
def attn_backends():
    return [BackendSpec(name="pixart-alpha", summary="PixArt", load=load_pixart)]

def load_pixart():
    from attn_pixart_family import PixArtBackend
    return PixArtBackend()
"""
REQUEST = Request("A red Cat, on a chair", width=64, height=96, steps=3, negative="A dog")


@pytest.fixture(scope="module")
def folder(demo_cache, tmp_path_factory):
    """A tiny PixArt with random weights, saved as diffusers saves it."""
    parts = demo.checkpoint("sd35")
    encoder = T5EncoderModel.from_pretrained(parts / "text_encoder_3")
    vae = diffusers.AutoencoderKL.from_pretrained(parts / "vae")
    torch.manual_seed(0)
    transformer = diffusers.PixArtTransformer2DModel(
        num_attention_heads=3,
        attention_head_dim=16,
        cross_attention_dim=48,
        num_layers=2,
        in_channels=vae.config.latent_channels,
        out_channels=2 * vae.config.latent_channels,
        sample_size=8,
        caption_channels=encoder.config.d_model,
        norm_num_groups=1,
    )
    pipe = diffusers.PixArtAlphaPipeline(
        tokenizer=AutoTokenizer.from_pretrained(parts / "tokenizer_3"),
        text_encoder=encoder,
        vae=vae,
        transformer=transformer,
        scheduler=diffusers.DPMSolverMultistepScheduler(),
    )
    where = tmp_path_factory.mktemp("pixart") / "model"
    pipe.save_pretrained(where)
    return where


@pytest.fixture
def family(install, tmp_path):
    """The package that whoever follows the page has."""
    (tmp_path / "attn_pixart_family.py").write_text(CODE)
    install("attn-pixart", HOOK)
    import attn_pixart_family

    yield attn_pixart_family
    sys.modules.pop("attn_pixart_family", None)


@pytest.fixture
def session(family, folder):
    backend = family.PixArtBackend()
    return backend.open(str(folder), backend.Options(), Placement("cpu"))


@pytest.fixture
def lora(tmp_path):
    """A LoRA of what reads the picture and of what reads the text."""
    shapes = {"A": (5, 48), "B": (48, 5)}
    tensors = {
        f"transformer.transformer_blocks.1.{name}.lora_{side}.weight": torch.ones(shape)
        for name in ("attn1.to_q", "attn2.to_k")
        for side, shape in shapes.items()
    }
    save_file(tensors, tmp_path / "lora.safetensors")
    return tmp_path / "lora.safetensors"


def test_it_is_as_short_as_it_says():
    """The listing has at most 60 lines, empty ones left out."""
    assert len([line for line in CODE.splitlines() if line.strip()]) <= 60


def test_conformance(session):
    """It passes every check of the kit, with capitals that its pipeline reads as small letters."""
    for check in CHECKS:
        check(session, REQUEST)


def test_offsets_are_those_of_what_was_typed(session):
    """Small letters and taken blanks leave tokens at the characters of the prompt."""
    prompt = "  A red Cat"
    request = session.complete(Request(prompt, width=64, height=96))
    tokens = [token for token in session.sequence(request, "cond").tokens if token.is_content]
    read = {token.word: "" for token in tokens}
    for token in tokens:
        read[token.word] += prompt[token.start : token.stop].strip()
    assert read == {0: "A", 1: "red", 2: "Cat"}


def test_every_option_of_capture(family, folder, lora, tmp_path):
    """LoRAs, samplers, seeds, batches, both branches: all come with the base."""
    requested = {
        "size": (64, 96),
        "steps": 3,
        "negative": "a dog",
        "device": "cpu",
        "model": folder,
    }
    runs = {
        name: attn.capture(
            *("pixart-alpha", ["a red cat", "a dog"]),
            out=tmp_path / name,
            **requested,
            **options,
            scheduler="euler-a",
            seed=(3, 7),
            images=2,
            batch=2,
            keep="heads",
            keys="all",
            mass="full",
            branch="both",
            entropy=True,
        )
        for name, options in {"base": {}, "lora": {"lora": f"{lora}:0.5"}}.items()
    }
    base, changed = (
        [attn.open(run.path / entry.folder) for entry in run.entries] for run in runs.values()
    )
    assert len(base) == len(changed) == 4
    for item, other in zip(base, changed, strict=True):
        assert item.manifest.identity["noise"] == other.manifest.identity["noise"] != []
        assert item.manifest.request.scheduler == "EulerAncestralDiscreteScheduler"
        assert not np.array_equal(item.mass(layer=3).to_numpy(), other.mass(layer=3).to_numpy())


def test_what_it_has_not_is_said(family, folder):
    """No demo, another pipeline, another family's LoRA: one message each."""
    backend = family.PixArtBackend()
    with pytest.raises(AttnError, match="pixart-alpha has no demo model; give one with --model"):
        backend.open("demo", backend.Options())
    with pytest.raises(AttnError, match="this is a StableDiffusion3Pipeline, not a PixArtAlpha"):
        backend.open(str(demo.checkpoint("sd35")), backend.Options())
