"""SD3.5 with gates: every layout, type and size is what the formula says, and nothing else is."""

from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from diffusers import SD3Transformer2DModel
from safetensors.torch import load_file

import attn
from attn.backends.loading.weights import gates
from attn.backends.loading.weights.checkpoint import ModelSpec, empty_model
from attn.checkpoints.inventory import CONFIGS
from attn.errors import RequestError
from attn.lora.base.weights import open_base
from attn.lora.names import DENOISER
from attn.schema import GATE_STATISTICS, Lora, Request
from attn.verbs.capture.capture import Shared
from tests.backends.loading.test_single_file import left_by_capture
from tests.helpers.models import gated_files, layouts, lora_demo
from tests.helpers.models.opening import SMALL, changed, opening, picture, refusal
from tests.helpers.toy_sessions import remarks

SHAPES = [(13, 7), (29, 17), (3, 41)]
"""Tokens of image and text."""
STEM = "joint_blocks.1.x_block.attn"


@pytest.fixture(scope="module")
def made(toys, tmp_path_factory):
    """Write a gated model and open it: (session, file, options)."""

    @cache
    def make(name, layout="fused", kind="headwise", **options):
        folder = tmp_path_factory.mktemp("gated")
        own = gated_files.some(toys(name), layout, kind)
        file, settings = gated_files.save(toys(name), name, folder, own, layout)
        return opening("gated", file, **settings, **options), file, settings

    return make


def plain_state(file):
    """Return a file's transformer in float64, without prefix."""
    state = layouts.within_of(load_file(file), layouts.DENOISER)
    return {name: value.numpy().astype(np.float64) for name, value in state.items()}


def inputs(session, shape, seed=0):
    """Return random normed image and text tokens."""
    generator = torch.Generator().manual_seed(seed)
    width = session.model.inner_dim
    return [torch.randn(1, count, width, generator=generator) for count in shape]


@pytest.mark.parametrize("kind", gated_files.TYPES)
@pytest.mark.parametrize("layout", gated_files.LAYOUTS)
@pytest.mark.parametrize("name", gated_files.MODELS)
def test_formula(made, name, layout, kind):
    """Each attention of each layout, type and size gives the plain float64 formula to 1e-5."""
    session, file, _ = made(name, layout, kind)
    state = plain_state(file)
    modules = [
        (number, path, module)
        for number, block in enumerate(session.model.transformer_blocks)
        for path, module in block.named_children()
        if path in ("attn", "attn2")
    ]
    assert len(modules) == {"sd35": 5, "sd35:medium": 7}[name]
    for shape, (number, path, module) in product(SHAPES, modules):
        given = inputs(session, shape, number)[: 2 if path == "attn" else 1]
        with torch.no_grad(), gates.applied(gates.gated(session.model)):
            result = module(*given)
        exact = [item[0].double().numpy() for item in given]
        wanted = gated_files.attend(state, number, path, *exact)
        for item, other in zip(result if path == "attn" else [result], wanted, strict=False):
            if other is not None:
                np.testing.assert_allclose(item[0].numpy(), other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", gated_files.TYPES)
@pytest.mark.parametrize("name", gated_files.MODELS)
def test_layouts_agree(made, name, kind):
    """Fused and separate gates of the same numbers draw the same picture, bit for bit."""
    fused, separate = (made(name, layout, kind)[0] for layout in ("fused", "separate"))
    assert np.array_equal(picture(fused), picture(separate))
    assert not np.array_equal(picture(fused), picture(made(name, "targeted", kind)[0]))


@pytest.mark.parametrize("layout", gated_files.LAYOUTS)
def test_each_module_for_itself(made, layout):
    """Which modules have gates is decided one by one, not by the first."""
    session = made("sd35:medium", layout)[0]
    result = [stream.stem for stream in gates.streams(session.model) if stream.gate is not None]
    every = [stream.stem for stream in gates.streams(session.model)]
    targeted = [stem for stem in every if stem.endswith("attn2")]
    assert result == (targeted if layout == "targeted" else every)


@pytest.mark.parametrize(
    ("config", "rows", "kind"),
    [
        ("sd35-large", 7334, "headwise"),
        ("sd35-large", 9728, "elementwise"),
        ("sd35-medium", 4632, "headwise"),
        ("sd35-medium", 6144, "elementwise"),
    ],
)
def test_published_sizes(config, rows, kind):
    """Gates of the published sizes are recognised by the numbers of rows that files have."""
    model = empty_model(ModelSpec(SD3Transformer2DModel, CONFIGS / config / "transformer"))
    every = [f"{stream.stem}.qkv" for stream in gates.streams(model)]
    assert len(every) == {"sd35-large": 2 * 38, "sd35-medium": 2 * 24 + 13}[config]
    width = model.inner_dim
    shapes = {f"{name}.weight": (rows, width) for name in every}
    gates.add(model, shapes | {f"{name}.bias": (rows,) for name in every})
    assert {stream.kind for stream in gates.streams(model)} == {kind}
    assert {stream.gate[0].out_features for stream in gates.streams(model)} == {rows - 3 * width}


def test_types_may_mix(toys, tmp_path):
    """A file with headwise gates in one module and elementwise ones in another has both."""
    pipe = toys("sd35")
    own = gated_files.gates(pipe, "headwise", only="blocks.0.x_")
    own |= gated_files.gates(pipe, "elementwise", only="blocks.3.context_")
    file, settings = gated_files.save(pipe, "sd35", tmp_path, own)
    session = opening("gated", file, **settings)
    kinds = {
        stream.stem: stream.kind
        for stream in gates.streams(session.model)
        if stream.gate is not None
    }
    assert kinds == {
        "joint_blocks.0.x_block.attn": "headwise",
        "joint_blocks.3.context_block.attn": "elementwise",
    }
    assert session.warnings == (
        "gates in 2 of 9 places: joint_blocks.0.x_block.attn, joint_blocks.3.context_block.attn",
    )


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["folder", "file", "parts"])
@pytest.mark.parametrize("name", gated_files.MODELS)
def test_ungated_is_sd35(saved, tmp_path, name, layout):
    """A checkpoint without gates gives the picture and the trace of `sd35`, bit for bit."""
    backend, model, settings = saved(name, layout)
    plain = left_by_capture(tmp_path / "plain", backend, model, settings)
    assert left_by_capture(tmp_path / "gated", "gated", model, settings) == plain


def test_ungated_says_so(saved):
    """That a model has no gates is told."""
    _, model, settings = saved("sd35", "file")
    session = opening("gated", model, **settings)
    assert "this model has no gates: it runs as sd35 runs it" in session.warnings


def test_gates_off(made, toys, saved):
    """Without its gates a model draws what the same weights without gates draw, bit for bit."""
    off = made("sd35", "fused", "elementwise", gate=False)[0]
    plain = opening(*saved("sd35", "folder")[:2])
    assert np.array_equal(picture(off), picture(plain))
    assert not np.array_equal(picture(off), picture(made("sd35", "fused", "elementwise")[0]))
    assert not any(layer.gates for layer in off.layers(off.complete(Request("a", **SMALL))))


def test_gates_limited_to_layers(made, toys, tmp_path):
    """Gates limited to some layers are those of a file that has no others."""
    limited = made("sd35", gate_layers=("1", "*.3.attn"))[0]
    pipe = toys("sd35")
    own = {
        name: gate
        for name, gate in gated_files.gates(pipe, "headwise").items()
        if name.startswith(("joint_blocks.1.", "joint_blocks.3."))
    }
    file, settings = gated_files.save(pipe, "sd35", tmp_path, own)
    assert np.array_equal(picture(limited), picture(opening("gated", file, **settings)))
    layers = limited.layers(limited.complete(Request("a", **SMALL)))
    assert [layer.index for layer in layers if layer.gates] == [1, 3]


@pytest.mark.parametrize("pattern", ["9", "*.attn2", "x"])
def test_limited_to_nothing(made, pattern):
    """A layer that has no gates cannot be chosen."""
    session = made("sd35", gate_layers=(pattern,))[0]
    with pytest.raises(RequestError) as error:
        session.complete(Request("a cat", **SMALL))
    assert str(error.value) == (
        f"gate_layers: no layer with gates matches '{pattern}'; there are gates in layers "
        "0, 1, 2, 3, 4 of 0 to 4"
    )


def test_the_last_text_has_no_output(made):
    """A gate on the last block's text, which ends there, is read from the file and acts nowhere."""
    session = made("sd35")[0]
    layers = session.layers(session.complete(Request("a", **SMALL)))
    assert [[gate.part for gate in layer.gates] for layer in layers] == [["image", "text"]] * 4 + [
        ["image"]
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows, width: {f"{STEM}.qkv.weight": (rows + 7, width)},
            "'{stem}.qkv.weight' has {bad} rows: expected 144 of query, key and value, and 3 (a "
            "gate per head) or 48 (per channel)",
        ),
        (
            lambda rows, width: {f"{STEM}.gate_proj.weight": (7, width)},
            "'{stem}.gate_proj.weight' has 7 rows: expected 3 (a gate per head) or 48 (per "
            "channel)",
        ),
        (
            lambda rows, width: {f"{STEM}.qkv.weight": (rows + 3, width)},
            "'{stem}.qkv.bias' has 144 rows, its weight 147",
        ),
        (
            lambda rows, width: {
                f"{STEM}.qkv.weight": (rows + 3, width),
                f"{STEM}.gate_proj.weight": (3, width),
            },
            "two gates, '{stem}.gate_proj.weight' and rows of '{stem}.qkv.weight'",
        ),
        (
            lambda rows, width: {f"{STEM}.gate_proj.weight": (3, width + 1)},
            "1 of another shape (transformer_blocks.1.attn.gates.image.0.weight: [3, 49], expected "
            "[3, 48] …)",
        ),
    ],
)
def test_wrong_rows(saved, tmp_path, change, message):
    """Rows that are no gate's are refused with the name of the tensor, before weights are read."""
    _, path, settings = saved("sd35", "file")

    def edit(state):
        key = f"{layouts.DENOISER}{STEM}.qkv.weight"
        for name, shape in change(*state[key].shape).items():
            state[layouts.DENOISER + name] = torch.zeros(shape)

    other = changed(path, tmp_path, edit)
    result = refusal("gated", other, weights=False, **settings)
    assert result.startswith(f"{other}: this is a gated DiT: ")
    assert result.endswith(": " + message.format(stem=STEM, bad=151))


def test_unknown_keys(saved, tmp_path):
    """A tensor that is neither of the model nor a known gate is refused by name."""
    _, path, settings = saved("sd35", "file")
    name = f"{STEM}.gate.weight"
    other = changed(
        path, tmp_path, lambda state: state.update({layouts.DENOISER + name: torch.zeros(3, 48)})
    )
    assert f"1 unexpected ({name} …)" in refusal("gated", other, **settings)


def test_sd35_refuses_gates(made):
    """The backend without gates does not run a model without its gates in silence."""
    _, file, settings = made("sd35", "targeted")
    assert refusal("sd35", file, **settings).endswith("; use --backend gated")
    assert refusal("sd35", None, dit=str(file), **settings).endswith("; use --backend gated")


def test_missing_encoder(made):
    """sd-scripts' file holds no encoders; which are missing is said with what to do."""
    _, file, settings = made("sd35")
    assert refusal("gated", file, config=settings["config"]) == (
        f"{file} is not a whole model: dit, vae found, clip_l, clip_g missing; give what is "
        "missing, each a .safetensors file or a folder: --set clip_l=PATH --set clip_g=PATH"
    )


def test_bundled_and_separate_parts(made, toys, tmp_path):
    """A file that brings all parts along is the same model as one file for every part."""
    session, file, settings = made("sd35")
    state = load_file(file)
    alone = layouts.within_of(state, layouts.DENOISER)
    parts = {"dit": alone, "vae": layouts.within_of(state, layouts.VAE)}
    files = {
        part: str(layouts.write(item, tmp_path / f"{part}.safetensors"))
        for part, item in parts.items()
    }
    assert np.array_equal(picture(session), picture(opening("gated", None, **files, **settings)))
    for name, encoder in layouts.sd3_encoders(toys("sd35")):
        state |= layouts.within(layouts.SD3_ENCODER.format(name), encoder)
    whole = layouts.write(state, tmp_path / "whole.safetensors")
    other = opening("gated", whole, config=settings["config"])
    assert np.array_equal(picture(session), picture(other))


@pytest.mark.parametrize(
    ("asked", "kind", "found"),
    [("elementwise", "headwise", "headwise"), ("none", "headwise", "headwise")],
)
def test_gate_type_is_a_check(made, asked, kind, found):
    """A type that the file does not have is refused; it never changes what is read."""
    _, file, settings = made("sd35", kind=kind)
    assert refusal("gated", file, gate_type=asked, **settings) == (
        f"gate_type={asked}: joint_blocks.0.x_block.attn has the gate type {found}; gates are "
        "recognised by their shapes, so leave gate_type out"
    )
    session = opening("gated", file, gate_type=kind, **settings)
    assert np.array_equal(picture(session), picture(made("sd35", kind=kind)[0]))


def test_gate_type_without_gates(saved):
    """A type is asked of a model without gates: refused."""
    _, model, settings = saved("sd35", "file")
    assert refusal("gated", model, gate_type="headwise", **settings).startswith(
        "gate_type=headwise: the model has the gate type none"
    )
    opening("gated", model, gate_type="none", **settings)


@pytest.mark.parametrize(("bias", "value"), [(0.0, "0.5"), (2.0, "0.8808")])
def test_untouched_gates(toys, tmp_path, bias, value):
    """Gates that no training has touched are told with what they do to attention."""
    own = {
        name: torch.full_like(gate, bias if name.endswith("bias") else 0.0)
        for name, gate in gated_files.gates(toys("sd35"), "headwise").items()
    }
    file, settings = gated_files.save(toys("sd35"), "sd35", tmp_path, own)
    assert opening("gated", file, gate=False, **settings).warnings == ()
    session = opening("gated", file, **settings)
    assert session.warnings == (
        f"10 of 10 gates are untouched zeros, {value} for every input: attention is multiplied by "
        f"{value} there (joint_blocks.0.x_block.attn, joint_blocks.0.context_block.attn, "
        "joint_blocks.1.x_block.attn, joint_blocks.1.context_block.attn and 6 more); "
        "--set gate=off takes the gates away",
    )


def test_medium_is_warned_of(made):
    """What sd-scripts does to the second attention of Medium is in no file, so it is said."""
    assert any(
        "heads and head size exchanged" in warning for warning in made("sd35:medium")[0].warnings
    )
    assert not any("attn2" in warning for warning in made("sd35")[0].warnings)


def test_nothing_is_left(made):
    """After a generation, also one that breaks, no hook is left in the model."""
    session = made("sd35")[0]

    def hooks():
        return [
            (path, len(module._forward_hooks), len(module._forward_pre_hooks))
            for path, module in session.model.named_modules()
        ]

    def stop(call):
        raise KeyboardInterrupt

    before, request = hooks(), session.complete(Request("a cat", **SMALL))
    session.generate([request], None)
    with pytest.raises(KeyboardInterrupt):
        session.generate([request], stop)
    assert hooks() == before


@pytest.mark.slow
@pytest.mark.parametrize("kind", gated_files.TYPES)
@pytest.mark.parametrize("name", gated_files.MODELS)
def test_statistics(made, tmp_path, name, kind):
    """What is kept of gates is true of sigmoid(W x + b) in float64, by step, layer and head."""
    session, file, _ = made(name, "fused", kind)
    state, seen = plain_state(file), []
    handles = [
        stream.attention.register_forward_pre_hook(
            lambda module, args, keywords, stream=stream: seen.append(
                (stream.path_of_gate, stream.stem, keywords)
            ),
            with_kwargs=True,
        )
        for stream in gates.gated(session.model)
    ]
    attn.capture("gated", "a red cat", model=Shared(lambda: session), steps=2, size=(96, 64),
                 guidance=1.0, out=tmp_path / "run", device="cpu")  # fmt: skip
    for handle in handles:
        handle.remove()
    trace = attn.open(tmp_path / "run")
    size = session.model.config.attention_head_dim
    paths = {gate.path: (layer, gate) for layer in trace.layers for gate in layer.gates}
    assert len(seen) == 2 * len(paths)
    assert {path for path, _, _ in seen} == set(paths)
    for index, (path, stem, keywords) in enumerate(seen):
        layer, gate = paths[path]
        given = keywords["hidden_states" if gate.part == "image" else "encoder_hidden_states"]
        values = gated_files.gate_values(state, stem, given[0].double().numpy(), size)
        by_head = values.transpose(1, 0, 2).reshape(values.shape[1], -1)
        wanted = np.stack(
            [by_head.mean(1), by_head.std(1), (by_head < 0.5).mean(1), (by_head < 0.1).mean(1)], 1
        )
        result = trace.gates(layer.index, gate.part).isel(
            step=index // len(paths), branch=0, sample=0
        )
        assert list(result["statistic"].values) == list(GATE_STATISTICS)
        np.testing.assert_allclose(result.values, wanted, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_merged_loras(made, toys, tmp_path):
    """Gate then LoRA, LoRA then gate, and a LoRA merged into the file's weights are one model."""
    session, _, _ = made("sd35", "fused", "elementwise")
    pairs = lora_demo.changes(session.pipe, "transformer")
    pairs |= {
        ("transformer", path): lora_demo.pair(np.random.default_rng(7), tuple(module.weight.shape))
        for path, module in session.model.named_modules()
        if path.endswith(("to_out.0", "to_add_out")) and ("transformer", path) not in pairs
    }
    assert any(path.endswith("to_add_out") for _, path in pairs)
    kohya = lora_demo.kohya(tmp_path / "lora.safetensors", pairs)
    ours = denoised(session, Lora(str(kohya)))
    with session._adapters.active(session.complete(Request("a", loras=(Lora(str(kohya)),))).loras):
        twin = lora_demo.merged(session.model).float()
    own, session.pipe.transformer = session.pipe.transformer, twin
    try:
        merged = denoised(session)
    finally:
        session.pipe.transformer = own
    session.pipe.load_lora_weights(as_peft(pairs), adapter_name="theirs")
    try:
        theirs = denoised(session)
    finally:
        session.pipe.unload_lora_weights()
    torch.testing.assert_close(ours, merged, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert (ours - denoised(session)).abs().max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["fused", "separate"])
def test_loras_that_change_gates(made, tmp_path, layout):
    """A LoRA trained on the gated model changes the gates too, as merged into the file."""
    session, file, settings = made("sd35", layout)
    state, rng = load_file(file), np.random.default_rng(9)
    pairs = {}
    for name in [name for name in state if name.endswith((".qkv.weight", ".gate_proj.weight"))]:
        pair = lora_demo.pair(rng, tuple(state[name].shape))
        path = name.removeprefix(layouts.DENOISER).removesuffix(".weight")
        pairs["transformer", path] = pair
        state[name] = (state[name].double() + torch.from_numpy(pair.change)).float()
    kohya = lora_demo.kohya(tmp_path / "lora.safetensors", pairs)
    merged = opening("gated", layouts.write(state, tmp_path / "merged.safetensors"), **settings)
    result = denoised(session, Lora(str(kohya)))
    told = remarks(session, Request("a cat", loras=(Lora(str(kohya)),)))
    assert not any("left out" in item for item in told)
    torch.testing.assert_close(result, denoised(merged), rtol=1e-3, atol=1e-3)
    assert (result - denoised(session)).abs().max() > 0.1


@pytest.mark.parametrize("name", ["qkv", "to_q"])
def test_lora_files_are_held_against_gated_files(made, name):
    """`attn lora --model` finds query, key and value beside gates, with and without those."""
    base = open_base(made("sd35")[1])
    if name == "to_q":
        index = base.find(DENOISER, "transformer_blocks.1.attn.to_q", (48, 48))
        assert [stored.info.shape for stored in index.weight] == [(48, 48)]
        return
    for rows in (144, 147):
        index = base.find(DENOISER, f"{STEM}.qkv", (rows, 48))
        assert [stored.info.shape for stored in index.weight] == [(rows, 48)]
    assert "another shape" in base.find(DENOISER, f"{STEM}.qkv", (145, 48))


def as_peft(pairs):
    """Return changes as diffusers loads them: without alpha, which is in the factors then."""
    result = {}
    for (component, path), pair in pairs.items():
        up = pair.up * (lora_demo.ALPHA / lora_demo.RANK)
        result[f"{component}.{path}.lora_A.weight"] = torch.from_numpy(pair.down)
        result[f"{component}.{path}.lora_B.weight"] = torch.from_numpy(up.astype(np.float32))
    return result


def denoised(session, *loras):
    """Return everything that the denoiser says in one generation, in order."""
    said = []
    handle = session.model.register_forward_hook(
        lambda module, args, output: said.append(
            (output[0] if isinstance(output, tuple) else output.sample).clone()
        )
    )
    try:
        session.generate([session.complete(Request("a red cat", loras=loras, **SMALL))], None)
    finally:
        handle.remove()
    return torch.stack(said)
