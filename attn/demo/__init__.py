"""Built-in toy models: folders in their published layouts, made offline on first use.

Where trained weights ship with the package, the model of that name is assembled from them; else it
has the structure of the published model with tiny random weights. Those stay reachable as
`tiny:NAME`.

    drawn, language, stability   files as ScribbleDiffusion, LLaDA and sd-scripts lay them out
    networks, shapes_networks    the networks; text_encoders, tokenizers: what reads the text
    scenes, rendering            the shapes world, and its images; questions: that of the text
    judge, changes              what a picture of shapes shows, and what differs from another
    shipped, quiet               where trained weights lie; silence of libraries that write

Importing this module loads no torch; the first `checkpoint` of a model does.
"""

from __future__ import annotations

import stat
from importlib.metadata import version
from pathlib import Path

from attn.demo import shipped
from attn.errors import ModelError, did_you_mean
from attn.files.cache import cache_folder
from attn.files.scratch import scratch, sweep

__all__ = [
    "EXAMPLE_PROMPT",
    "EXAMPLE_QUESTION",
    "NAMES",
    "build",
    "checkpoint",
    "example_prompt",
    "guidance",
    "is_trained",
    "note",
]

EXAMPLE_PROMPT: str = "a red cat sitting on a wooden chair in a garden"
"""For models with random weights."""
EXAMPLE_CAPTION = "a red square left of a purple triangle on a white background"
"""For models that know the shapes world and nothing else. Both of their LoRAs change it."""
EXAMPLE_QUESTION: str = "What is the capital of France?"
"""For models that write text."""
TRAINED = "trained on pictures of one or two coloured shapes, 128x128: it knows no other words"
TRAINED_TEXT = "trained on short questions: capitals, colours, sums, scenes of one shape"
UNTRAINED = "tiny and untrained: real attention, random weights"
GUIDANCE = dict.fromkeys(("sdxl", "scribble:tokens", "sd35", "sd35:medium", "gated"), 3.0)
"""Of trained models that need less of it than the published models of their family."""
PICTURES: tuple[str, ...] = ("sd15", "sdxl", "sd35", "sd35:medium", "scribble", "scribble:sd15")
"""Models that draw: folders for `DiffusionPipeline.from_pretrained`."""
DRAWN: tuple[str, ...] = ("scribble:tokens",)
"""The same, whose UNet reads a drawing that the library's pipeline does not give it."""
INPAINTING: tuple[str, ...] = ("sd15:inpainting", "sdxl:inpainting")
"""Models that draw into a picture: folders, too."""
GATED: tuple[str, ...] = ("gated", "gated:medium")
"""Models that draw with gates: folders of files as sd-scripts saves them."""
TEXTS: tuple[str, ...] = ("mmada",)
"""Models that write: folders in the layout of MMaDA and LLaDA."""
NAMES: tuple[str, ...] = PICTURES + DRAWN + INPAINTING + GATED + TEXTS
SPLIT_MODEL = "model.safetensors"
"""Of a model in `GATED`: transformer and VAE."""
SPLIT_FILES: dict[str, str] = {
    "clip_l": "clip_l.safetensors",
    "clip_g": "clip_g.safetensors",
    "t5xxl": "t5xxl.safetensors",
    "config": "config",
}
"""Of such a model: what is beside it, by the option of the backend that names it."""
TINY = "tiny:"
VERSION = 2  # raise it when the saved models change, so that nobody keeps an old copy


def checkpoint(name: str) -> Path:
    """Find the demo model in the user's cache, building it on first use.

    The cache is the platform's own, or the folder in the environment variable `ATTN_CACHE`. Two
    processes may build at once: the first to finish wins, both return the same folder.

    Args:
        name: one of `NAMES`, or `tiny:NAME`.

    Returns:
        A folder in the model's published layout; treat it as read-only.

    Raises:
        ModelError: the name is unknown, or the cache cannot be written.
    """
    _require_name(name)
    folder = _cache() / _folder_name(name)
    try:
        sweep(folder.parent)
        if not folder.is_dir():
            _install(name, folder)
    except Exception as error:
        raise ModelError(
            f"cannot write the demo model {name!r} to {folder}: {error}. Make room, or set "
            "ATTN_CACHE to a folder that you may write to."
        ) from error
    return folder


def build(name: str, folder: Path, *, seed: int = 0) -> None:
    """Build a demo model into a folder of your choice.

    Args:
        name: one of `NAMES`, or `tiny:NAME`.
        folder: destination, created if missing.
        seed: of random weights; the same seed gives the same safetensors files, byte for byte.

    Raises:
        ModelError: the name is unknown.
    """
    _require_name(name)
    weights = shipped.WEIGHTS / _plain(name)
    # torch and diffusers take seconds to import
    if name.removeprefix(TINY) in TEXTS:
        from attn.demo import language  # noqa: PLC0415

        if is_trained(name):
            language.save_trained(folder, weights)
        else:
            language.save(folder, language.random_weights(seed))
    elif is_trained(name):
        from attn.demo import trained  # noqa: PLC0415

        trained.save(_plain(name), folder, weights=weights)
    else:
        from attn.demo import tiny  # noqa: PLC0415

        tiny.save(name.removeprefix(TINY), folder, seed=seed)


def is_trained(name: str) -> bool:
    """Whether the model of this name is trained; otherwise its weights are random."""
    return not name.startswith(TINY) and shipped.is_shipped(shipped.WEIGHTS / _plain(name))


def example_prompt(name: str) -> str:
    """Return a prompt that the model of this name knows all words of."""
    if name.removeprefix(TINY) in TEXTS:
        return EXAMPLE_QUESTION
    is_drawn = name.removeprefix(TINY).startswith("scribble")  # with outlines, also if untrained
    return EXAMPLE_CAPTION if is_trained(name) or is_drawn else EXAMPLE_PROMPT


def guidance(name: str) -> float | None:
    """Return the scale with which the model of this name draws best, or None: its family's."""
    return GUIDANCE.get(name) if is_trained(name) else None


def note(name: str) -> str:
    """Return a remark for the user on the model of this name."""
    if not is_trained(name):
        return UNTRAINED
    return TRAINED_TEXT if name in TEXTS else TRAINED


def _plain(name: str) -> str:
    """Return the name as folders bear it."""
    return name.removeprefix(TINY).replace(":", "-")


def _folder_name(name: str) -> str:
    """Return the folder in the cache, another one for other weights."""
    if is_trained(name):
        return f"{_plain(name)}-{shipped.digest(shipped.WEIGHTS / _plain(name))}"
    return _plain(name)


def _require_name(name: str) -> None:
    if name.removeprefix(TINY) not in NAMES:
        raise ModelError(
            f"unknown demo model {name!r}: expected one of {', '.join(NAMES)}."
            + did_you_mean(name, NAMES)
        )


def _cache() -> Path:
    """Folder for models of this version, saved by this diffusers."""
    release = ".".join(version("diffusers").split(".")[:2])
    return cache_folder() / f"demo-{VERSION}-diffusers-{release}"


def _install(name: str, folder: Path) -> None:
    """Build next to `folder` and move into place at once, so nobody sees a half-built model."""
    if not folder.parent.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # others who may write to the cache build there, too
        folder.parent.chmod(stat.S_IMODE(folder.parent.parent.stat().st_mode))
    with scratch(folder) as built:
        built.mkdir()
        build(name, built)
        _share(built)
        try:
            built.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was faster
                raise


def _share(folder: Path) -> None:
    """Let everybody read the files who may read the folder: libraries write some for one user."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    for path in folder.rglob("*"):
        path.chmod(mode if path.is_dir() else mode & 0o666)
