"""The built-in toy models: their files, their cache, their tokenizers, and that they run."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from safetensors import SafetensorError
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from transformers.utils import logging as transformers_logging

from attn import demo
from attn.demo import scenes, shipped
from attn.demo.tokenizers import WORDS, clip_tokenizer, t5_tokenizer
from attn.errors import ModelError
from attn.files.markers import write_marker

ROOT = Path(demo.__file__).parents[2]
SHELF = f"demo-{demo.VERSION}-diffusers-0.42"
DTYPES = (torch.float32, torch.bfloat16)
# queries and keys where a picture of 64 x 128 pixels attends to text: UNet levels, joint blocks
CROSS_LENGTHS = {(128, 77), (32, 77), (8, 77), (32 + 333, 32 + 333)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every demo model, built once."""
    built = {name: tmp_path_factory.mktemp("demo") / "model" for name in demo.NAMES}
    for name, folder in built.items():
        demo.build(name, folder)
    return built


@pytest.fixture(autouse=True)
def progress_bars_off() -> Iterator[None]:
    """Keep the libraries' bars out of what a test reads from stderr."""
    for logging in (transformers_logging, diffusers_logging):
        logging.disable_progress_bar()
    yield
    for logging in (transformers_logging, diffusers_logging):
        logging.enable_progress_bar()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn every attempt to connect into a failure."""

    def refuse(*_: object) -> None:
        pytest.fail("tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory."""
    monkeypatch.setenv("ATTN_CACHE", str(tmp_path))
    return tmp_path


def load(folder: Path, **options: Any) -> Any:
    return DiffusionPipeline.from_pretrained(folder, local_files_only=True, **options)


def generate(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    given: dict[str, Any] = {"height": 64, "width": 128}
    if "controlnet" in pipeline.components:
        given["image"] = Image.new("RGB", (128, 64))
    return pipeline(
        demo.EXAMPLE_PROMPT, num_inference_steps=2, generator=generator, output_type="np", **given
    ).images


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def fake_build(monkeypatch: pytest.MonkeyPatch, before: Callable[[], object]) -> list[str]:
    """Replace the building of models by one small file; return the names asked for."""
    names: list[str] = []

    def build(name: str, folder: Path) -> None:
        before()
        folder.mkdir(exist_ok=True)
        (folder / "mine").touch()
        names.append(name)

    monkeypatch.setattr(demo, "build", build)
    return names


class CrossLogits(TorchFunctionMode):
    """Records how much pixels and text interact in every layer where an image attends to text."""

    def __init__(self) -> None:
        super().__init__()
        self.spreads: list[float] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is scaled_dot_product_attention:
            self.record(*args[:2])
        return func(*args, **(kwargs or {}))

    def record(self, query: torch.Tensor, key: torch.Tensor) -> None:
        """Keep the spread of the logits that neither the pixel nor the key explains alone."""
        if (query.shape[-2], key.shape[-2]) in CROSS_LENGTHS:
            logits = query[-1] @ key[-1].mT / query.shape[-1] ** 0.5
            centred = logits - logits.mean(-1, keepdim=True)
            self.spreads.append(float((centred - centred.mean(-2, keepdim=True)).std()))


def test_importing_the_package_loads_no_framework() -> None:
    """`attn --help` may import `attn.demo`, so that must not cost seconds."""
    heavy = "{'torch', 'diffusers', 'transformers', 'numpy'}"
    code = f"import sys, attn.demo; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.slow
def test_two_processes_build_the_same_bytes(folders: dict[str, Path], tmp_path: Path) -> None:
    """Traces of the demo model are comparable between machines only if its files are the same."""
    code = (
        "import sys, pathlib; from attn import demo; "
        "demo.build('tiny:sdxl', pathlib.Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True)
    assert digests(tmp_path) == digests(folders["sdxl"])


def test_another_seed_gives_other_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    """A comparison of two models needs two models that differ, in their weights alone."""
    demo.build("sd35", tmp_path, seed=1)
    mine, theirs = digests(tmp_path), digests(folders["sd35"])
    assert mine.keys() == theirs.keys()
    assert {Path(file).suffix for file in mine if mine[file] != theirs[file]} == {".safetensors"}


def test_building_leaves_the_random_state_alone(tmp_path: Path) -> None:
    """A seed that the caller has set must mean the same before and after."""
    before = torch.get_rng_state()
    demo.build("sd35", tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("pad", ["<|endoftext|>", "!"])
def test_every_word_is_one_clip_token(pad: str) -> None:
    """Pictures per word are only as sharp as the tokens: begin, word, end and nothing else."""
    tokenizer = clip_tokenizer(pad=pad)
    assert [word for word in WORDS if len(tokenizer(word).input_ids) != 3] == []


@pytest.mark.parametrize("prompt", [demo.EXAMPLE_PROMPT, demo.EXAMPLE_CAPTION])
def test_the_words_of_the_example_prompt_are_known(prompt: str) -> None:
    """The first picture that anybody sees shows whole words."""
    assert set(prompt.split()) <= set(WORDS)


def test_the_example_caption_is_one_of_the_shapes_world() -> None:
    """What the first picture shows can be judged like any other, and both LoRAs change it."""
    assert scenes.caption(scenes.read(demo.EXAMPLE_CAPTION)) == demo.EXAMPLE_CAPTION
    words = {path.name.partition(".")[0] for path in shipped.LORAS.values()}
    assert words <= set(demo.EXAMPLE_CAPTION.split())


def test_clip_special_tokens_have_the_places_of_the_real_ones() -> None:
    """SDXL pads its second encoder with id 0, and pooling looks for the highest id."""
    first, second = clip_tokenizer(), clip_tokenizer(pad="!")
    assert first.pad_token_id == first.eos_token_id == len(first) - 1
    assert second.pad_token_id == 0


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("red cat,", ["▁red", "▁cat", ","]),
        ("Red cats", ["▁", "R", "e", "d", "▁cat", "s"]),
        ("zebra", ["▁", "z", "e", "b", "r", "a"]),
        ("café", ["▁", "c", "a", "f", "<unk>"]),
    ],
)
def test_t5_spells_out_what_it_does_not_know(text: str, pieces: list[str]) -> None:
    """Upper case and unknown words get pieces of their own; only foreign letters are lost."""
    tokenizer = t5_tokenizer()
    ids = tokenizer(text).input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == [*pieces, "</s>"]


def test_a_cached_checkpoint_is_not_rebuilt(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first use pays, and the folder's name holds the versions that its content needs."""
    names = fake_build(monkeypatch, before=lambda: None)
    folder = demo.checkpoint("sd35:medium")
    assert demo.checkpoint("sd35:medium") == folder
    assert names == ["sd35:medium"]
    assert folder == cache / SHELF / "sd35-medium"


def test_tiny_models_share_the_folder_of_untrained_ones(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before trained weights ship, both names mean the same model, which is built once."""
    names = fake_build(monkeypatch, before=lambda: None)
    assert demo.checkpoint("tiny:sdxl") == demo.checkpoint("sdxl")
    assert names == ["tiny:sdxl"]


def test_the_slower_of_two_builders_discards_its_copy(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that start together end with one whole folder and nothing else."""
    theirs = cache / SHELF / "sdxl" / "theirs"
    fake_build(monkeypatch, before=lambda: theirs.mkdir(parents=True))
    folder = demo.checkpoint("sdxl")
    assert list(folder.iterdir()) == [theirs]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_failed_build_leaves_nothing_behind(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during the first use must not leave half a model that the next use would load."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    fake_build(monkeypatch, before=interrupt)
    with pytest.raises(KeyboardInterrupt):
        demo.checkpoint("sdxl")
    assert [path.name for path in cache.rglob("*")] == [SHELF]


@pytest.mark.parametrize("name", ["file", "x" * 300, "loop"])
def test_a_cache_that_cannot_be_written_says_what_to_do(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A read-only home directory is no bug of ours: the message names the way out."""
    (cache / "file").touch()
    (cache / "loop").symlink_to("loop")
    monkeypatch.setenv("ATTN_CACHE", str(cache / name))
    with pytest.raises(ModelError, match=r"'sd15'.*set ATTN_CACHE to a folder that you may write"):
        demo.checkpoint("sd15")


def test_a_full_disk_is_an_expected_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a library raises where it cannot write, the message says what to do."""

    def full() -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    fake_build(monkeypatch, before=full)
    with pytest.raises(ModelError, match=r"No space left on device .*Make room, or set ATTN_CACHE"):
        demo.checkpoint("sd15")
    assert [path.name for path in cache.rglob("*")] == [SHELF]


def test_everybody_may_read_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of several users works: libraries that write for one user alone do not decide."""
    monkeypatch.setattr(demo, "build", lambda name, folder: os.close(_private(folder / "mine")))
    folder = demo.checkpoint("sd15")
    mask = os.umask(0)
    os.umask(mask)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "mine")]
    assert modes == [0o777 & ~mask, 0o666 & ~mask]


def test_everybody_may_build_who_may_write_to_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of this version is as open as the cache that it is in, whoever was first."""
    fake_build(monkeypatch, before=lambda: None)
    cache.mkdir(exist_ok=True)
    cache.chmod(0o1777)
    demo.checkpoint("sd15")
    assert stat.S_IMODE((cache / SHELF).stat().st_mode) == 0o1777


def _private(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)


def test_what_a_killed_build_left_is_removed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next use of the cache takes it away, also if the model is there; nothing of others."""
    fake_build(monkeypatch, before=lambda: None)
    folder = demo.checkpoint("sdxl")
    left, mine = folder.parent / ".attn-scratch-abcdefgh", folder.parent / ".sdxl-abcd1234"
    for path in (left, mine):
        (path / "new" / "unet").mkdir(parents=True)
    write_marker(left, goal="sdxl")
    assert demo.checkpoint("sdxl") == folder
    assert sorted(folder.parent.iterdir()) == sorted([folder, mine])


@pytest.mark.parametrize("call", [demo.checkpoint, lambda name: demo.build(name, Path("unused"))])
def test_an_unknown_name_lists_the_known_ones(call: Callable[[str], object]) -> None:
    """A typing error is answered with the names, before anything is imported or written."""
    with pytest.raises(ModelError) as caught:
        call("sdx")
    assert str(caught.value) == (
        "unknown demo model 'sdx': expected one of sd15, sdxl, sd35, sd35:medium, scribble, "
        "scribble:sd15, scribble:tokens, sd15:inpainting, sdxl:inpainting, gated, "
        "gated:medium, mmada. Did you mean 'sdxl'?"
    )


@pytest.mark.parametrize("name", demo.PICTURES)
def test_loading_is_silent(
    name: str, folders: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """A warning about our own model would teach people to ignore warnings."""
    capfd.readouterr()
    load(folders[name])
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", demo.PICTURES)
def test_a_folder_generates_offline(
    name: str, dtype: torch.dtype, folders: dict[str, Path]
) -> None:
    """Random weights must neither overflow nor give a flat picture, in both dtypes."""
    images = generate(load(folders[name], dtype=dtype))
    assert images.shape == (1, 64, 128, 3)
    assert 0.05 < images.std() < 0.5


@pytest.mark.parametrize("name", demo.PICTURES)
def test_attention_has_structure(name: str, folders: dict[str, Path]) -> None:
    """Which word a pixel attends to must depend on both, or every demo picture is grey."""
    pipeline = load(folders[name])
    with CrossLogits() as recorded:
        generate(pipeline)
    assert recorded.spreads
    assert min(recorded.spreads) > 0.7


def test_folders_are_small(folders: dict[str, Path]) -> None:
    """The cache of somebody who only tried the program stays negligible: 30 MB per model."""
    sizes = {
        name: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for name, folder in folders.items()
    }
    assert max(sizes.values()) < 30e6
