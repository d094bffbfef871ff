"""The recipe of the demo models: killed runs go on exactly, and prompts mean what they do later."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import attn
from attn import demo
from attn.backends.loading.weights import gates as gating
from attn.demo import scenes, shipped, trained
from attn.demo.tokenizers import t5_tokenizer
from benchmarks.demo.train_demo import FAMILIES, RECIPES, drop_known, export, take_shared
from benchmarks.training import denoiser, gated, sd35, sdxl, vae
from benchmarks.training.denoiser import Family
from benchmarks.training.loop import Stage, Training, schedule, train
from tests.helpers.models.opening import opening

CAPTIONS = [
    "a red star on a gray background",
    "a blue circle above a red star on a gray background",
]


def toy_stage(steps: int = 7) -> Stage:
    """Fits a line: one weight and one bias, no pictures."""
    torch.manual_seed(0)
    model, average = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)

    def loss(rng: np.random.Generator, number: int) -> torch.Tensor:
        x = torch.from_numpy(rng.standard_normal((number, 1), np.float32))
        return (model(x) - 3 * x).square().mean()

    def show(path: Path) -> None:
        path.write_bytes(b"")

    return Stage("toy", {"line": model}, {"line": average}, loss, show, steps, 4, 0.01, 3)


def state(training: Training) -> dict[str, torch.Tensor]:
    """Copy everything that the next step depends on."""
    moments = {
        f"{name}/{moment}": tensor.clone()
        for name, parameter in training.parameters.items()
        for moment, tensor in training.optimizer.state[parameter].items()
    }
    averages = {f"{name}/average": each.clone() for name, each in training.averages.items()}
    return {**moments, **averages, **{n: p.clone() for n, p in training.parameters.items()}}


def assert_goes_on_exactly(make: Callable[[], Stage], path: Path) -> None:
    """Three steps in a row end bit for bit where two steps, a checkpoint and one more end."""
    unbroken, killed, resumed = (Training(make(), workers=2) for _ in range(3))
    for _ in range(3):
        unbroken.advance()
    for _ in range(2):
        killed.advance()
    killed.save(path)
    resumed.load(path)
    assert resumed.step == 2
    resumed.advance()
    first, second = state(unbroken), state(resumed)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_resumed_run_is_the_unbroken_run(tmp_path: Path) -> None:
    """A checkpoint holds all that matters."""
    assert_goes_on_exactly(toy_stage, tmp_path / "checkpoint.safetensors")


def test_stopped_run_goes_on(tmp_path: Path) -> None:
    """The same command again finishes a run, with one loss per step and a sheet where due."""
    assert not train(toy_stage(), tmp_path, deadline=0)
    half = Training(toy_stage())
    for _ in range(4):
        half.advance()
    half.save(tmp_path / "checkpoint.safetensors")
    (tmp_path / "losses.jsonl").write_text(
        "".join(json.dumps({"step": step, "loss": 1.0}) + "\n" for step in range(1, 7))
    )
    assert train(toy_stage(), tmp_path)
    lines = (tmp_path / "losses.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6, 7]
    sheets = sorted(path.name for path in tmp_path.glob("*.png"))
    assert sheets == ["losses.png", "sheet-00006.png", "sheet-00007.png"]


def test_learning_rate_rises_and_falls() -> None:
    """The rate ends near zero, which sharpens what the pictures show."""
    rates = [schedule(step, 1000) for step in range(1000)]
    assert int(np.argmax(rates)) == pytest.approx(200, abs=1)
    assert rates[0] < 0.01
    assert rates[-1] == pytest.approx(0.01, abs=1e-4)


@pytest.fixture(scope="module")
def autoencoder() -> Any:
    """The shapes VAE with random weights."""
    return vae.build().requires_grad_(False)


@pytest.fixture(scope="module")
def built(autoencoder: Any) -> Callable[[Family], Any]:
    """Build the model of a family with random weights, once; do not change it."""
    return cache(lambda family: denoiser.build(family, autoencoder))


def test_every_trained_model_has_a_recipe() -> None:
    """No weights ship that nobody can make again."""
    by_others = {"scribble", "scribble-tokens"}
    assert FAMILIES.keys() | by_others == trained.PIPELINES.keys()


def test_sdxl_captions_are_encoded_as_the_pipeline_does(built: Callable[[Family], Any]) -> None:
    """What training teaches about a caption is what generation asks for."""
    pipeline = built(sdxl.FAMILY)
    with torch.no_grad():
        ids = denoiser.tokenize(sdxl.FAMILY, pipeline, CAPTIONS)
        states, pooled = sdxl.encode(pipeline, ids)
        expected, _, expected_pooled, _ = pipeline.encode_prompt(CAPTIONS)
    torch.testing.assert_close(states, expected, rtol=0, atol=0)
    torch.testing.assert_close(pooled, expected_pooled, rtol=0, atol=0)


@pytest.mark.parametrize("length", sd35.T5_LENGTHS)
def test_sd35_captions_are_encoded_as_the_pipeline_does(
    length: int, built: Callable[[Family], Any]
) -> None:
    """The three encoders lie in the sequence where generation puts them, at both lengths of T5."""
    pipeline = built(sd35.LARGE)
    with torch.no_grad():
        ids = denoiser.tokenize(sd35.LARGE, pipeline, CAPTIONS)
        t5_ids = sd35.resize(pipeline, ids[:, 2], length)
        states, pooled = sd35.encode(pipeline, ids, t5_ids)
        expected, _, expected_pooled, _ = pipeline.encode_prompt(
            CAPTIONS, None, None, max_sequence_length=length
        )
    assert states.shape == (2, 77 + length, 176)
    torch.testing.assert_close(states, expected, rtol=0, atol=0)
    torch.testing.assert_close(pooled, expected_pooled, rtol=0, atol=0)


def test_captions_fit_the_short_sequence() -> None:
    """No caption loses a word where T5 reads fewest positions."""
    ids = t5_tokenizer()([scenes.caption(content) for content in scenes.contents()]).input_ids
    assert max(map(len, ids)) < min(sd35.T5_LENGTHS)


def test_sizes_are_those_of_the_pipeline(built: Callable[[Family], Any]) -> None:
    """The UNet is trained with the size conditioning that generation gives it."""
    pipeline = built(sdxl.FAMILY)
    size = (pipeline.default_sample_size * pipeline.vae_scale_factor,) * 2
    ids = pipeline._get_add_time_ids(
        size, (0, 0), size, torch.float32, text_encoder_projection_dim=96
    )
    assert torch.equal(sdxl.time_ids(pipeline, 1), ids)


@pytest.mark.parametrize(("encoder", "marks"), [(0, 1), (2, 0)], ids=["clip", "t5"])
def test_padding_begins_with_the_end_mark(
    encoder: int, marks: int, built: Callable[[Family], Any]
) -> None:
    """What is swapped between captions is no word, but the end mark, which knows all words."""
    pipeline = built(sd35.LARGE)
    ids = denoiser.tokenize(sd35.LARGE, pipeline, CAPTIONS)[:, encoder]
    tokenizer = pipeline.tokenizer_3 if encoder == 2 else pipeline.tokenizer
    kept = ~denoiser.is_padding(ids, tokenizer.eos_token_id)
    assert kept.sum(1).tolist() == [len(caption.split()) + marks for caption in CAPTIONS]
    assert (kept.int().diff() <= 0).all()


def test_misleading_padding_never_holds_words() -> None:
    """A caption keeps its words, and gets of its neighbour what is padding in both."""
    states = torch.arange(1.0, 11).reshape(2, 5, 1)
    padding = torch.tensor([[False, False, False, False, True], [False, True, True, True, True]])
    misled = denoiser.mislead(states, padding, torch.tensor([True, True]))
    assert misled[..., 0].tolist() == [[1, 2, 3, 4, 10], [6, 0, 0, 0, 5]]
    assert torch.equal(denoiser.mislead(states, padding, torch.tensor([False, False])), states)


def test_sd35_always_hears_the_words(built: Callable[[Family], Any]) -> None:
    """CLIP, T5 or both tell every word; only padding and the pooled caption may be missing."""
    pipeline = built(sd35.LARGE)
    ids = denoiser.tokenize(sd35.LARGE, pipeline, CAPTIONS[:1] * 60)
    empty = denoiser.tokenize(sd35.LARGE, pipeline, [""])[0]
    told = sd35.read(pipeline, ids, empty, np.random.default_rng(1))
    heard = told["encoder_hidden_states"].abs().sum(-1) > 0
    has_caption = (ids != empty).any(-1).any(-1)
    assert 1 <= (~has_caption).sum() <= 15
    clip, t5 = heard[has_caption, :9], heard[has_caption, 77:85]
    assert torch.equal(clip.all(1), clip.any(1))
    assert torch.equal(t5.all(1), t5.any(1))
    heard_by = set(zip(clip.all(1).tolist(), t5.all(1).tolist(), strict=True))
    assert heard_by == {(True, True), (True, False), (False, True)}
    has_summary = told["pooled_projections"].abs().sum(-1) > 0
    assert not (has_summary[has_caption] & ~clip.all(1)).any()
    assert has_summary.any()


def test_flow_leads_back_to_the_picture() -> None:
    """One step of the sampler along the target, from any time, ends in the clean latents."""
    rng = np.random.default_rng(0)
    latents, noise = torch.randn(2, 400, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    noisy, times, target = sd35.mix(latents, noise, rng)
    sigma = (times / 1000)[:, None, None, None]
    torch.testing.assert_close(noisy - sigma * target, latents, rtol=0, atol=1e-5)
    assert 0 <= times.min() < 300
    assert 700 < times.median() < 800 < times.max() <= 1000


def assert_same(model: Any, expected: Any) -> None:
    """Every weight is the same."""
    states = model.state_dict(), expected.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def predict(pipeline: Any) -> dict[str, torch.Tensor]:
    """What a model of SD3.5 says first, and what it read."""
    ids = denoiser.tokenize(sd35.LARGE, pipeline, CAPTIONS)
    with torch.no_grad():
        states, pooled = sd35.encode(pipeline, ids, sd35.resize(pipeline, ids[:, 2], 16))
        latents, times = torch.ones(2, 4, 16, 16), torch.tensor([3.0, 900.0])
        predicted = pipeline.transformer(latents, states, pooled, times).sample
    return {"predicted": predicted, "states": states}


def test_sd35_begins_with_nothing(built: Callable[[Family], Any]) -> None:
    """The first prediction is zero, whatever the caption, and CLIP is about as loud as T5."""
    result = predict(built(sd35.WORDS))
    assert not result["predicted"].any()
    assert not predict(built(sd35.LARGE))["predicted"].any()
    states = result["states"]
    loudness = [states[:, :9, :64].std(), states[:, :9, 64:160].std(), states[:, 77:].std()]
    assert max(loudness) < 2.5 * min(loudness)


def test_sd35_learns_with_encoders_that_stay(built: Callable[[Family], Any]) -> None:
    """Words mean to the model that ships what they meant to the coarse one."""
    coarse, fine = built(sd35.WORDS), built(sd35.LARGE)
    assert coarse.transformer.config.patch_size == 2 * fine.transformer.config.patch_size
    shipped_model = trained.PIPELINES["sd35"]().components
    trained.fill({name: shipped_model[name] for name in sd35.ENCODERS}, sd35.BASE)
    for name in sd35.ENCODERS:
        assert_same(getattr(fine, name), shipped_model[name])
        assert not any(each.requires_grad for each in getattr(fine, name).parameters())
        assert name in sd35.WORDS.models


def test_medium_begins_as_large_ended(built: Callable[[Family], Any]) -> None:
    """A second attention that is new changes nothing yet, but can learn."""
    medium, large = built(sd35.MEDIUM), trained.PIPELINES["sd35"]()
    trained.fill(large.components, sd35.BASE)
    result = predict(medium)["predicted"]
    assert result.std() > 0.1
    # the large model that ships has its table of positions in float16 too
    torch.testing.assert_close(result, predict(large)["predicted"], rtol=0, atol=5e-3)
    second = medium.transformer.transformer_blocks[0].attn2
    assert second.to_q.weight.any()
    assert second.to_out[0].weight.any()


def test_other_models_take_what_they_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All share one VAE, some text encoders too; but what was put there is not replaced."""
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path / "shipped")
    out = tmp_path / "out"
    take_shared(sd35.WORDS, out)
    assert not out.exists()
    for name in ("sdxl/vae", *(f"sd35/{component}" for component in sd35.WORDS.models)):
        path = tmp_path / "shipped" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)

    def taken() -> set[str]:
        return {path.read_text() for path in (out / "weights").iterdir()}

    take_shared(sd35.WORDS, out)
    assert taken() == {"sdxl/vae"}
    (out / "weights" / "vae.safetensors").write_text("mine")
    take_shared(sd35.MEDIUM, out)
    encoders = {f"sd35/{name}" for name in sd35.ENCODERS}
    assert taken() == {"mine"} | encoders


def test_weights_come_back_as_halves(built: Callable[[Family], Any], tmp_path: Path) -> None:
    """What training writes is what the shipped model is made of; tied weights are stored once."""
    pipeline = built(sd35.LARGE)
    models = {name: getattr(pipeline, name) for name in (sd35.DENOISER, *sd35.ENCODERS, "vae")}
    export(models, tmp_path)
    trained.fill((restored := trained.PIPELINES["sd35"]()).components, tmp_path)
    for name, model in models.items():
        for key, tensor in getattr(restored, name).state_dict().items():
            assert torch.equal(tensor, model.state_dict()[key].half().float()), f"{name}: {key}"
    assert len(load_file(tmp_path / "text_encoder_3.safetensors")) == (
        len(pipeline.text_encoder_3.state_dict()) - 1
    )


@pytest.mark.parametrize("family", [sd35.MEDIUM, gated.HEADWISE], ids=lambda item: item.name)
def test_only_what_is_new_is_written(
    family: Family, autoencoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not trained stays bit for bit the base's, and ships only once."""
    monkeypatch.setattr(shipped, "WEIGHTS", sd35.BASE.parent)  # other tests see random weights
    pipeline = denoiser.build(family, autoencoder)
    learned = {name for name, item in pipeline.transformer.named_parameters() if item.requires_grad}
    with torch.no_grad():
        for parameter in pipeline.transformer.parameters():
            if parameter.requires_grad:
                parameter.add_(0.5)
    export({"transformer": pipeline.transformer}, tmp_path / family.name)
    drop_known(family, tmp_path / family.name)
    written = load_file(tmp_path / family.name / "transformer.safetensors")
    gates = {name for name in learned if ".gates." in name}
    assert written.keys() == learned - gates
    (tmp_path / "sd35").symlink_to(sd35.BASE)
    files = shipped.weight_files(tmp_path / family.name, "transformer")
    assert [path.parent.name for path in files] == ["sd35", family.name]


def test_gates_begin_mostly_open(built: Callable[[Family], Any]) -> None:
    """Every attention begins with a gate per head around 0.88, which depends on its input."""
    model = built(gated.HEADWISE).transformer
    streams = list(gating.streams(model))
    assert {stream.kind for stream in streams} == {"headwise"}
    assert {gating.untouched(stream) for stream in streams} == {None}
    states = torch.randn(5, 7, model.inner_dim, generator=torch.Generator().manual_seed(1))
    opened = torch.stack([stream.gate[0](states).sigmoid() for stream in streams if stream.gate])
    assert 0.8 < opened.mean() < 0.9
    assert 0.03 < opened.std() < 0.1


def test_gated_files_are_the_trained_model(autoencoder: Any, tmp_path: Path) -> None:
    """What training writes becomes sd-scripts' files, which load, predict the same, and run."""
    pipeline = denoiser.build(gated.HEADWISE, autoencoder)
    models = {name: getattr(pipeline, name) for name in (sd35.DENOISER, *sd35.ENCODERS, "vae")}
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in pipeline.transformer.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    pipeline.transformer.half().float()  # as what ships is rounded
    export(models, tmp_path / "weights")
    folder = tmp_path / "model"
    trained.save("gated", folder, weights=tmp_path / "weights")
    assert sorted(path.name for path in folder.iterdir()) == [
        *("clip_g.safetensors", "clip_l.safetensors", "config"),
        *("model.safetensors", "t5xxl.safetensors"),
    ]
    assert not list((folder / "config").rglob("*.safetensors"))
    parts = {name: str(folder / file) for name, file in demo.SPLIT_FILES.items()}
    session = opening("gated", folder / demo.SPLIT_MODEL, gate_type="headwise", **parts)
    assert session.warnings == ()
    widths = session.model.config.joint_attention_dim, session.model.config.pooled_projection_dim
    given = {
        "hidden_states": torch.randn(2, 4, 16, 16, generator=generator),
        "encoder_hidden_states": torch.randn(2, 93, widths[0], generator=generator),
        "pooled_projections": torch.randn(2, widths[1], generator=generator),
        "timestep": torch.tensor([3.0, 900.0]),
    }
    with torch.no_grad(), gating.applied(gating.gated(session.model)):
        result = session.model(**given).sample
        wanted = pipeline.transformer(**given).sample
    torch.testing.assert_close(result, wanted, rtol=1e-5, atol=1e-5)
    attn.capture(
        "gated",
        CAPTIONS[0],
        model=folder / demo.SPLIT_MODEL,
        settings={"gate_type": "headwise", **parts},
        steps=2,
        out=tmp_path / "run",
    )
    trace = attn.open(tmp_path / "run")
    assert trace.gates(2, "text").sizes["head"] == 4
    assert [len(layer.gates) for layer in trace.layers] == [2, 2, 2, 1]


def test_normalized_latents_decode_to_the_same_picture() -> None:
    """The latents get SDXL's scale without a change to what the VAE paints."""
    model = vae.build().double()
    pictures = torch.rand(3, 3, 32, 64, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        before = model.encode(pictures).latent_dist
        painted = model.decode(before.mean).sample
        vae.normalize(model, before.mean)
        after = model.encode(pictures).latent_dist
        scaled = after.mean * model.config.scaling_factor
        torch.testing.assert_close(model.decode(after.mean).sample, painted)
    torch.testing.assert_close(scaled.mean((0, 2, 3)), torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(scaled.std((0, 2, 3)), torch.ones(4, dtype=torch.float64))
    noise = after.std * model.config.scaling_factor / scaled.std((0, 2, 3))[:, None, None]
    before_noise = before.std / before.mean.std((0, 2, 3))[:, None, None]
    torch.testing.assert_close(noise, before_noise)


@pytest.mark.slow
def test_vae_recipe_goes_on_exactly(tmp_path: Path) -> None:
    """The first stage of the real recipe resumes bit for bit."""

    def small() -> Stage:
        return vae.stage(vae.build(), vae.build(), steps=9)

    assert_goes_on_exactly(small, tmp_path / "vae.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_recipe_goes_on_exactly(
    name: str, autoencoder: Any, built: Callable[[Family], Any], tmp_path: Path
) -> None:
    """The second stage of every real recipe resumes bit for bit."""
    family = replace(RECIPES[name], batch=6)
    path = tmp_path / "examples.safetensors"
    examples = denoiser.prepare(family, built(RECIPES[name]), path, number=8)

    def small() -> Stage:
        pipeline, average = (denoiser.build(family, autoencoder) for _ in range(2))
        return denoiser.stage(family, pipeline, average, examples, steps=9)

    assert_goes_on_exactly(small, tmp_path / "denoiser.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_sheets_are_drawn(
    name: str,
    built: Callable[[Family], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """While training goes on, pictures and the share of right ones tell how it does."""
    monkeypatch.setattr(denoiser, "SHEET_PROMPTS", 2)
    monkeypatch.setattr(denoiser, "SHEET_STEPS", 1)
    denoiser.show(built(RECIPES[name]), 4.0, tmp_path / "sheet-00002.png")
    assert (tmp_path / "sheet-00002.png").stat().st_size > 1000
    assert capsys.readouterr().err.startswith("sheet-00002 background ")


@pytest.mark.parametrize("name", RECIPES)
def test_examples_are_kept(name: str, built: Callable[[Family], Any], tmp_path: Path) -> None:
    """A second start finds the latents of the first; each goes with its caption."""
    family, pipeline = RECIPES[name], built(RECIPES[name])
    path = tmp_path / "examples.safetensors"
    first = denoiser.prepare(family, pipeline, path, number=3)
    again = denoiser.prepare(family, pipeline, path, number=5)
    assert torch.equal(first.latents, again.latents)
    rng = np.random.default_rng(0)
    captions = [scenes.caption(scenes.sample(rng, training=True).content) for _ in range(3)]
    assert torch.equal(first.ids, denoiser.tokenize(family, pipeline, captions))
