"""Capture with LoRAs: what is recorded of them, what is resumed, what is refused at once."""

import shutil
from collections import namedtuple

import numpy as np
import pytest
from PIL import Image

import attn
from attn.backends.diffusers import adapters
from attn.errors import AttnError
from attn.lora import read
from attn.verbs.capture.capture import capture
from tests.helpers.models import lora_demo
from tests.helpers.models.lora_files import write
from tests.helpers.toy_runs import contents

Files = namedtuple("Files", "a b")


@pytest.fixture
def files(opened, tmp_path):
    """Write two LoRAs of the demo SD3.5."""
    pipe = opened("sd35", "demo").pipe
    pairs = [lora_demo.changes(pipe, "transformer", "text_encoder", seed=seed) for seed in (3, 4)]
    paths = [tmp_path / f"{name}.safetensors" for name in "ab"]
    return Files(*map(lora_demo.kohya, paths, pairs))


def test_manifest(run, files):
    """A trace and its picture say which files it was made with, and at which scale."""
    trace = run(lora=[f"{files.b}:0.5", files.a]).trace
    known = {(lora.path, lora.scale, lora.sha256) for lora in trace.manifest.request.loras}
    a, b = (read(path).sha256 for path in files)
    assert known == {(str(files.a), 1.0, a), (str(files.b), 0.5, b)}
    assert a in Image.open(trace.image()).text["attn"]
    assert trace.manifest.environment["peft"]


def test_it_acts_on_picture_and_attention(run, tmp_path, files):
    """With a LoRA both change; the base, captured after it, is what it was before."""
    base, changed, _ = (
        run(out=tmp_path / name, lora=lora).trace
        for name, lora in (("1", None), ("2", files.a), ("3", None))
    )
    assert contents(tmp_path / "1") == contents(tmp_path / "3")
    pictures = [np.asarray(Image.open(item.image())).astype(int) for item in (base, changed)]
    assert np.abs(pictures[0] - pictures[1]).max() > 9
    masses = [item.mass(2).values for item in (base, changed)]
    assert np.abs(masses[0] - masses[1]).max() > 0.01


def shards(captured):
    """Return everything but the manifest."""
    result = contents(captured.path)
    return {name: value for name, value in result.items() if name.endswith(".safetensors")}


def test_scale_0_records_the_base(run, tmp_path, files):
    """At scale 0 every tensor of the trace is the base's, bit for bit."""
    base, zero = (
        run(out=tmp_path / name, lora=lora) for name, lora in (("1", ()), ("2", (files.a, 0)))
    )
    assert shards(base) == shards(zero) != {}


def test_order(run, tmp_path, files):
    """The order in which LoRAs are named changes nothing in the trace, nor in its manifest."""
    given = [f"{files.a}:0.7", (files.b, -0.3)]
    item, other = run(out=tmp_path / "1", lora=given), run(out=tmp_path / "2", lora=given[::-1])
    assert contents(item.path) == contents(other.path)


def test_dry_run(files, tmp_path, demo_cache):
    """A plan reads the LoRA and no weights, and says what does not fit."""
    pairs = {("transformer", "transformer_blocks.9.attn.to_q"): lora_demo.Pair(*np.ones((2, 7, 7)))}
    odd = lora_demo.kohya(tmp_path / "odd.safetensors", pairs)
    requested = {"steps": 2, "size": (96, 64), "dry_run": True, "device": "cpu"}
    plain = capture("sd35", "a cat", **requested)
    assert capture("sd35", "a cat", lora=files.a, **requested).plans == plain.plans
    with pytest.raises(
        AttnError, match="3 of its 3 tensors fit nothing: lora_unet_transformer_blo"
    ):
        capture("sd35", "a cat", lora=odd, **requested)


def test_what_does_not_fit_is_warned_of_in_each_trace(run, opened, tmp_path):
    """The warning about a LoRA that fits in part goes to the user and to every manifest."""
    pairs = lora_demo.changes(opened("sd35", "demo").pipe, "transformer")
    pairs["text_encoder", "layers.77.q_proj"] = lora_demo.Pair(*np.ones((2, 7, 7)))
    file = lora_demo.kohya(tmp_path / "odd.safetensors", pairs)
    done = run(["a cat", "a dog"], lora=file, steps=1)
    (warning,) = done.warnings
    assert "fit nothing: lora_te1_layers_77_q_proj (the text_encoder has no such module)" in warning
    assert attn.open(done.path / "0001").manifest.warnings == (warning,)


def test_resume_knows_a_file_by_its_bytes(run, tmp_path, files):
    """A LoRA that was moved is the same; another file under its name is another run."""
    moved = tmp_path / "moved.safetensors"
    run(["a cat", "a dog"], lora=f"{files.a}:0.5", steps=1)
    shutil.move(files.a, moved)
    shutil.copy(files.b, files.a)
    again = run(["a cat", "a dog"], lora=f"{moved}:0.5", steps=1, resume=True)
    assert [entry.status for entry in again.entries] == ["complete"] * 2
    hashes = [read(path).sha256[:12] for path in (moved, files.a)]
    for lora, said in (
        (f"{files.a}:0.5", f"{hashes[1]} at 0.5"),
        (f"{moved}:0.6", f"{hashes[0]} at 0.6"),
        (None, "none"),
    ):
        with pytest.raises(AttnError) as caught:
            run(["a cat", "a dog"], lora=lora, steps=1, resume=True)
        assert f"(was → now): lora: {hashes[0]} at 0.5 → {said}. Nothing" in str(caught.value)


def test_strength_by_part(run, tmp_path, files):
    """Scales by part are in the manifest, act on their part alone, and belong to the run."""
    own = {"steps": 1, "keep": "mass"}
    requested = f"{files.a}:unet=0,te=0.5"
    result = run(out=tmp_path / "1", lora=requested, **own)
    (known,) = result.trace.manifest.request.loras
    encoders = {"text_encoder": 0.5, "text_encoder_2": 0.5, "text_encoder_3": 0.5}
    assert (known.scale, dict(known.parts)) == (1.0, {"denoiser": 0.0, **encoders})
    others = (None, f"{files.a}:unet=0,te=0", files.a)
    base, zero, whole = (
        run(out=tmp_path / f"{at}", lora=lora, **own) for at, lora in enumerate(others, 2)
    )
    assert shards(base) == shards(zero)
    assert shards(result) not in (shards(base), shards(whole))
    with pytest.raises(
        AttnError, match=r"[0-9a-f]{12} at unet=0,te=0.5 → [0-9a-f]{12} at unet=0,te"
    ):
        run(out=tmp_path / "1", lora=f"{files.a}:unet=0,te=0.6", resume=True, **own)
    assert run(out=tmp_path / "1", lora=requested, resume=True, **own).trace.manifest.status


def test_the_folder_of_peft(run, tmp_path, opened):
    """A folder of peft is drawn with; its configuration is recorded, and another is another run."""
    path = "transformer_blocks.0.attn.to_q"
    rows, columns = opened("sd35", "demo").pipe.transformer.get_submodule(path).weight.shape
    folder, config = tmp_path / "style", '{"peft_type": "LORA", "lora_alpha": 4}'
    folder.mkdir()
    ends = {"lora_A": (2, columns), "lora_B": (rows, 2)}
    tensors = {f"base_model.model.{path}.{end}.weight": np.ones(ends[end], "f4") for end in ends}
    write(folder / "adapter_model.safetensors", tensors)
    (folder / "adapter_config.json").write_text(config)
    (known,) = run(lora=folder, steps=1).trace.manifest.request.loras
    assert (known.path, known.config_sha256) == (str(folder), read(folder).config_sha256)
    (folder / "adapter_config.json").write_text(config.replace("4", "5"))
    with pytest.raises(
        AttnError, match=r"configured by [0-9a-f]{12} at 1 → [0-9a-f]{12} configured"
    ):
        run(lora=folder, steps=1, resume=True)


def test_resume_of_one_trace(run, tmp_path, files):
    """A single trace, which has no index, is compared by its own manifest."""
    run(steps=1)
    with pytest.raises(AttnError, match=r"\(was → now\): lora: none → [0-9a-f]{12} at 1\. Nothing"):
        run(lora=files.a, steps=1, resume=True)


def test_a_family_without_loras(files):
    """A backend that knows nothing of LoRAs refuses them; it would ignore them in silence."""
    from attn.backends.testing import FakeBackend

    with pytest.raises(AttnError, match="this backend takes no LoRAs: leave lora out, or choose a"):
        FakeBackend().complete_loras((attn.schema.Lora(str(files.a)),))


def test_without_peft(files, monkeypatch):
    """Where the optional package is missing, the message says how to install it."""
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    with pytest.raises(AttnError, match=r"pip install 'attn\[lora\]'"):
        capture("sd35", "a cat", model="./nowhere", lora=files.a)


def test_bad_files_are_refused_before_a_model_is_looked_for(files, tmp_path):
    """What is wrong with a file, or with its family, is said before time is spent."""
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(files.a.read_bytes()[:-9])
    empty = write(tmp_path / "empty.safetensors", {"x": np.ones(3)})
    for backend, lora, said in (
        ("sd35", cut, "cut.safetensors: .*download or copy it again"),
        ("sd35", empty, "empty.safetensors holds no LoRA"),
        ("sdxl", files.a, r"is for Stable Diffusion 3.x \('sd35'\).*family 'sdxl'"),
        ("sd15", files.a, r"is for Stable Diffusion 3.x \('sd35'\).*family 'sd15'"),
        (
            "sd35",
            tmp_path / "no",
            "cannot read .*no: the file or its folder does not exist. Check the path: ",
        ),
    ):
        with pytest.raises(AttnError, match=said):
            capture(backend, "a cat", model="./nowhere", lora=lora, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_prompt_in_the_syntax_of_a1111(run, tmp_path, files):
    """The trace has the words without syntax, with their weights, and the LoRA that is named."""
    typed = f"a (red:1.3) cat <lora:{files.a.stem}:0.5>"
    syntax = {"prompt_syntax": "a1111", "lora_dir": tmp_path}
    done = run(out=tmp_path / "run", prompt=typed, negative="[bad]", **syntax)
    request = done.trace.manifest.request
    assert (request.prompt, request.emphasis) == ("a red cat", ((2, 5, 1.3),))
    assert (request.negative, request.negative_emphasis) == ("bad", ((0, 3, 1 / 1.1),))
    assert [(lora.path, lora.scale) for lora in request.loras] == [(str(files.a), 0.5)]
    assert [word.text for word in done.trace.manifest.words] == ["a", "red", "cat"]
    assert not any("plain text" in warning for warning in done.warnings)
    other = typed.replace("1.3", "1.4")
    with pytest.raises(AttnError, match=r"weights of words: 'red': 1.3 → 'red': 1.4"):
        run(out=tmp_path / "run", prompt=other, negative="[bad]", resume=True, **syntax)
    with pytest.raises(AttnError, match="lora_dir is read with --prompt-syntax a1111 only"):
        run(out=tmp_path / "c", prompt="a cat", lora_dir=tmp_path)
