"""The families that `attn` brings along, offered as any plugin would."""

from __future__ import annotations

from attn.backends.hookspecs import hookimpl
from attn.backends.loading.quiet import quiet
from attn.backends.types import Backend, BackendSpec


@hookimpl
def attn_backends() -> list[BackendSpec]:
    """Return the built-in backends."""
    return [
        BackendSpec(
            name="sdxl",
            aliases=("sdxl-lora",),
            summary="Stable Diffusion XL: UNet cross- and self-attention",
            load=_sdxl,
            takes=("loras",),
        ),
        BackendSpec(
            name="sd15",
            aliases=("sd1",),
            summary="Stable Diffusion 1.x: UNet cross- and self-attention",
            load=_sd15,
            takes=("loras",),
        ),
        BackendSpec(
            name="sd2",
            aliases=("sd21",),
            summary="Stable Diffusion 2.x: UNet cross- and self-attention",
            load=_sd2,
            takes=("loras",),
        ),
        BackendSpec(
            name="sdxl-refiner",
            summary="the refiner of Stable Diffusion XL: UNet cross- and self-attention",
            load=_sdxl_refiner,
            takes=("loras",),
        ),
        BackendSpec(
            name="sd35",
            aliases=("sd35-mmdit",),
            summary="Stable Diffusion 3.5: MMDiT joint attention",
            load=_sd35,
            takes=("loras",),
        ),
        BackendSpec(
            name="flux",
            aliases=("flux1",),
            summary="FLUX.1 dev, schnell and Krea: joint attention of double and single blocks",
            load=_flux,
            takes=("loras",),
        ),
        BackendSpec(
            name="flux2",
            aliases=("flux2-klein",),
            summary="FLUX.2 klein: joint attention of double and single blocks",
            load=_flux2,
            takes=("loras",),
        ),
        BackendSpec(
            name="chroma",
            aliases=("chroma1",),
            summary="Chroma1: joint attention of double and single blocks",
            load=_chroma,
            takes=("loras",),
        ),
        BackendSpec(
            name="z-image",
            aliases=("z-image-turbo",),
            summary="Z-Image and Z-Image-Turbo: joint attention, refiners of picture and text",
            load=_z_image,
            takes=("loras",),
        ),
        BackendSpec(
            name="qwen-image",
            summary="Qwen-Image: joint attention of double-stream blocks",
            load=_qwen_image,
            takes=("loras",),
        ),
        BackendSpec(
            name="krea2",
            aliases=("krea-2",),
            summary="Krea 2 Turbo and Raw: joint attention with a gate per channel in every block",
            load=_krea2,
            takes=("loras",),
        ),
        BackendSpec(
            name="pixart",
            aliases=("pixart-sigma",),
            summary="PixArt-Σ and -α: cross-attention to T5, self-attention on request",
            load=_pixart,
            takes=("loras",),
        ),
        BackendSpec(
            name="wan",
            aliases=("wan21",),
            summary="Wan 2.1 and 2.2 text-to-video: cross- and self-attention, frame by frame",
            load=_wan,
            takes=("loras", "frames"),
        ),
        BackendSpec(
            name="sana",
            summary="Sana: cross-attention to Gemma 2; its linear self-attention has no softmax",
            load=_sana,
            takes=("loras",),
        ),
        BackendSpec(
            name="scribble",
            aliases=("scribble-controlnet",),
            summary="Stable Diffusion XL or 1.x with a drawing, through a ControlNet",
            load=_scribble,
            takes=("loras", "drawings"),
        ),
        BackendSpec(
            name="gated",
            aliases=("gated-dit", "sd-scripts"),
            summary="Stable Diffusion 3.5 with attention gates, from sd-scripts",
            load=_gated,
            takes=("loras",),
        ),
        BackendSpec(
            name="mmada",
            aliases=("mmada-dllm", "llada"),
            summary="MMaDA and LLaDA, language models that write by unmasking: self-attention",
            load=_mmada,
        ),
        BackendSpec(
            name="hf",
            summary="causal language models of transformers, which write token by token",
            load=_hf,
            takes=("lengths",),
        ),
    ]


def _sdxl() -> Backend:
    with quiet():
        from attn.backends.families.sdxl import SDXLBackend

    return SDXLBackend()


def _sd15() -> Backend:
    with quiet():
        from attn.backends.families.sd15 import SD15Backend

    return SD15Backend()


def _sd2() -> Backend:
    with quiet():
        from attn.backends.families.sd15 import SD2Backend

    return SD2Backend()


def _sdxl_refiner() -> Backend:
    with quiet():
        from attn.backends.families.sdxl import RefinerBackend

    return RefinerBackend()


def _sd35() -> Backend:
    with quiet():
        from attn.backends.families.sd35 import SD35Backend

    return SD35Backend()


def _flux() -> Backend:
    with quiet():
        from attn.backends.families.flux import FluxBackend

    return FluxBackend()


def _flux2() -> Backend:
    with quiet():
        from attn.backends.families.flux2 import Flux2Backend

    return Flux2Backend()


def _chroma() -> Backend:
    with quiet():
        from attn.backends.families.chroma import ChromaBackend

    return ChromaBackend()


def _z_image() -> Backend:
    with quiet():
        from attn.backends.families.z_image import ZImageBackend

    return ZImageBackend()


def _qwen_image() -> Backend:
    with quiet():
        from attn.backends.families.qwen_image import QwenImageBackend

    return QwenImageBackend()


def _krea2() -> Backend:
    with quiet():
        from attn.backends.families.krea2 import Krea2Backend

    return Krea2Backend()


def _pixart() -> Backend:
    with quiet():
        from attn.backends.families.cross import PixArtBackend

    return PixArtBackend()


def _wan() -> Backend:
    with quiet():
        from attn.backends.families.wan import WanBackend

    return WanBackend()


def _sana() -> Backend:
    with quiet():
        from attn.backends.families.sana import SanaBackend

    return SanaBackend()


def _scribble() -> Backend:
    with quiet():
        from attn.backends.families.scribble.scribble import ScribbleBackend

    return ScribbleBackend()


def _gated() -> Backend:
    with quiet():
        from attn.backends.families.gated import GatedBackend

    return GatedBackend()


def _mmada() -> Backend:
    with quiet():
        from attn.backends.families.mmada.mmada import MMaDABackend

    return MMaDABackend()


def _hf() -> Backend:
    with quiet():
        from attn.backends.families.hf.hf import HFBackend

    return HFBackend()
