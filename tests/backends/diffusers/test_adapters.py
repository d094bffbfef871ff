"""LoRAs in the demo models: they act as their numbers say, and leave nothing behind."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer

from attn import lora
from attn.backends.testing import (
    attention_declared,
    attention_exact,
    model_restored,
    outputs_identical,
    towers_exist,
)
from attn.backends.types import Placement
from attn.errors import CaptureError, ModelError
from attn.schema import Lora, Request
from tests.helpers.models import lora_demo
from tests.helpers.models.lora_files import write
from tests.helpers.toy_sessions import open_session, remarks, shared_session

pytestmark = pytest.mark.usefixtures("demo_cache")
MODELS = [("sdxl", "demo"), ("sd15", "demo"), ("sd35", "demo"), ("sd35", "demo:medium")]
SMALL = {"steps": 2, "width": 80, "height": 48}


def asked(session, *loras, **changes):
    """Return a completed request."""
    return session.complete(Request("a red cat", loras=loras, **SMALL | changes))


def outputs(session, *loras):
    """Return everything that the denoiser says in one generation, in order."""
    said = []

    def keep(module, args, output):
        said.append((output[0] if isinstance(output, tuple) else output.sample).clone())

    handle = session.model.register_forward_hook(keep)
    try:
        session.generate([asked(session, *loras)], None)
    finally:
        handle.remove()
    return torch.stack(said)


def active(session, *loras):
    """Put LoRAs into a session's pipeline."""
    return session._adapters.active(asked(session, *loras).loras)


@pytest.fixture
def write_both(tmp_path):
    """Write one LoRA of a session as kohya and as peft; return both for a request."""

    def files(session, *components, seed=3, scale=1.0):
        pairs = lora_demo.changes(session.pipe, *components, seed=seed)
        kohya = lora_demo.kohya(tmp_path / f"k{seed}.safetensors", pairs)
        peft = lora_demo.peft(tmp_path / f"p{seed}.safetensors", pairs)
        return Lora(str(kohya), scale), Lora(str(peft), scale)

    return files


@pytest.mark.parametrize(("backend", "model"), MODELS)
def test_kohya_and_peft_are_the_same(backend, model, write_both):
    """Both spellings of one LoRA change the prediction, and alike to the last bit."""
    session = shared_session(backend, model)
    kohya, peft = write_both(session)
    base, changed = outputs(session), outputs(session, kohya)
    assert (changed - base).abs().max() > 0.1
    assert torch.equal(changed, outputs(session, peft))


@pytest.mark.parametrize(("backend", "model"), MODELS)
def test_weights_are_those_of_the_formula(backend, model, write_both):
    """In every part of the pipeline, weights are W + alpha / rank · up · down in float64."""
    session = shared_session(backend, model)
    pairs = lora_demo.changes(session.pipe)
    with active(session, write_both(session)[0]):
        parts = {component: getattr(session.pipe, component) for component, _ in pairs}
        result = {component: lora_demo.merged(part) for component, part in parts.items()}
        counts = [sum(isinstance(m, LoraLayer) for m in part.modules()) for part in parts.values()]
    assert sum(counts) == len(pairs)
    for component, twin in result.items():
        own = {path: pair for (part, path), pair in pairs.items() if part == component}
        expected = lora_demo.by_hand(getattr(session.pipe, component), own).state_dict()
        for name, weight in twin.state_dict().items():
            torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("backend", "model"), MODELS)
def test_names_of_the_original_layout(backend, model, tmp_path):
    """Kohya's names of every layer in LDM's or Stability's layout reach the right rows of weights.

    Query, key and value are one module there, and some modulations have their halves swapped.
    """
    session = shared_session(backend, model)
    pairs = lora_demo.for_original(session.model)
    named = {("unet", path): pair for path, pair in pairs.items()}
    file = lora_demo.kohya(tmp_path / "a.safetensors", named)
    before = lora_demo.original(session.model)
    with active(session, Lora(str(file))):
        after = lora_demo.original(lora_demo.merged(session.model))
    for name, weight in after.items():
        path = name.removesuffix(".weight")
        expected = before[name].double() + (pairs[path].change if path in pairs else 0)
        torch.testing.assert_close(weight, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("backend", "model"), MODELS)
def test_the_prediction_is_that_of_merged_weights(backend, model, tmp_path):
    """A LoRA beside the weights predicts what the same change inside the weights does."""
    session = shared_session(backend, model)
    pairs = {("unet", path): value for path, value in lora_demo.for_original(session.model).items()}
    file = lora_demo.kohya(tmp_path / "a.safetensors", pairs)
    result = outputs(session, Lora(str(file), 0.1))
    with active(session, Lora(str(file), 0.1)):
        twin = lora_demo.merged(session.model).float()
    other = open_session(backend, model)
    setattr(other.pipe, session.denoiser, twin)
    torch.testing.assert_close(result, outputs(other), rtol=0, atol=1e-5)


@pytest.mark.parametrize("backend", ["sdxl", "sd35"])
def test_text_encoders_are_changed(backend, write_both):
    """A LoRA of text encoders alone acts, which it can through the words only."""
    session = shared_session(backend)
    parts = ["text_encoder", "text_encoder_2"] + ["text_encoder_3"] * (backend == "sd35")
    for seed, part in enumerate(parts, 20):
        file, _ = write_both(session, part, seed=seed)
        assert (outputs(session, file) - outputs(session)).abs().max() > 1e-3


def test_against_the_loader_of_diffusers(write_both):
    """Where diffusers loads kohya's names rightly, the prediction is the same.

    But for the last bits, since it leaves factors at addresses where kernels round otherwise. Of
    text encoders it loses the attention: its old names for them fit no transformers 5.
    """
    session, other = shared_session("sdxl"), open_session("sdxl")
    file, _ = write_both(session, "unet")
    other.pipe.load_lora_weights(file.path)
    torch.testing.assert_close(outputs(session, file), outputs(other), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("backend", "model"), MODELS)
def test_the_base_is_what_it_was(backend, model, write_both):
    """After a LoRA, weights, modules and predictions are those of a pipeline that never saw one."""
    session, other = open_session(backend, model), shared_session(backend, model)
    own = dict(session.model.named_modules())
    state = torch.get_rng_state()
    outputs(session, write_both(session)[0])
    assert torch.equal(state, torch.get_rng_state())
    assert all(own[name] is module for name, module in session.model.named_modules())
    assert vars(session.model).keys() == vars(other.model).keys()
    assert torch.equal(outputs(session), outputs(other))


def test_one_after_the_other(write_both):
    """B after a is b alone, and a again is a: nothing of the one stays in the other."""
    session = shared_session("sdxl")
    a, b = write_both(session)[0], write_both(session, "unet", seed=4)[0]
    first, second = outputs(session, a), outputs(session, b)
    assert torch.equal(first, outputs(session, a))
    assert torch.equal(second, outputs(open_session("sdxl"), b))
    assert not torch.equal(first, second)


def test_a_failure_leaves_nothing(write_both):
    """A generation that breaks while a LoRA is in the model takes it out too."""
    session = shared_session("sdxl")
    request = asked(session, write_both(session)[0])

    def refuse(call):
        raise CaptureError("the dog ate it")

    with pytest.raises(CaptureError):
        session.generate([request], refuse)
    assert not any(isinstance(module, LoraLayer) for module in session.model.modules())


def test_scale_0_is_the_base(write_both):
    """A scale of 0 gives the base's bits, alone and beside another LoRA."""
    session = shared_session("sdxl")
    a, b = write_both(session, scale=0.0)[0], write_both(session, seed=4)[0]
    assert torch.equal(outputs(session, a), outputs(session))
    assert torch.equal(outputs(session, a, b), outputs(session, b))


def test_stacks_add_up(tmp_path, write_both):
    """Two LoRAs change weights by the sum of their changes, each with its own scale."""
    session = shared_session("sd35")
    pairs = [lora_demo.changes(session.pipe, "transformer", seed=seed) for seed in (3, 4)]
    a = write_both(session, "transformer", seed=3, scale=0.5)[0]
    b = write_both(session, "transformer", seed=4, scale=-2.0)[1]
    with active(session, a, b):
        result = lora_demo.merged(session.model).state_dict()
    own = session.model.state_dict()
    for (_, path), first in pairs[0].items():
        change = 0.5 * first.change - 2 * pairs[1]["transformer", path].change
        name = f"{path}.weight"
        np.testing.assert_allclose(result[name] - own[name].double(), change, atol=1e-5)


def test_the_order_of_a_stack_is_no_matter(write_both):
    """Whichever LoRA is named first, requests and predictions are the same."""
    session = shared_session("sdxl")
    a, b = write_both(session, scale=0.3)[0], write_both(session, seed=4)[0]
    assert asked(session, a, b) == asked(session, b, a)
    assert torch.equal(outputs(session, a, b), outputs(session, b, a))


def test_alpha_kernels_and_half_precision(tmp_path):
    """Factors in float16, with a kernel, with alpha and without, are those of the formula."""
    session = shared_session("sdxl")
    path = "down_blocks.1.resnets.0.conv2"
    item = lora_demo.pair(
        np.random.default_rng(5), tuple(session.model.get_submodule(path).weight.shape)
    )
    stem = "lora_unet_" + path.replace(".", "_")
    half = {
        "lora_down.weight": item.down.astype(np.float16),
        "lora_up.weight": item.up.astype(np.float16),
    }
    for alpha, scale in ((None, 1.0), (0.75, 0.25), (np.inf, None)):
        tensors = {f"{stem}.{end}": values for end, values in half.items()}
        if alpha is not None:
            tensors[f"{stem}.alpha"] = np.array(alpha, np.float16)
        file = Lora(str(write(tmp_path / f"{alpha}.safetensors", tensors)))
        if scale is None:
            with pytest.raises(ModelError, match="NaN or infinity"):
                asked(session, file)
            continue
        with active(session, file):
            result = lora_demo.merged(session.model).get_submodule(path).weight
        exact = lora_demo.Pair(*(values.astype(float) for values in half.values())).change
        own = session.model.get_submodule(path).weight.double()
        expected = exact * scale * lora_demo.RANK / lora_demo.ALPHA
        np.testing.assert_allclose((result - own).detach(), expected, atol=1e-6)


OF_MODULES = (
    towers_exist,
    attention_declared,
    outputs_identical,
    attention_exact,
    model_restored,
)
"""Checks of what a LoRA changes: modules and what they compute, not tokens and rows."""


@pytest.mark.slow
@pytest.mark.parametrize("check", OF_MODULES, ids=lambda check: check.__name__)
def test_conformance(check, write_both):
    """With a LoRA in the model, capture is as exact as without: the same pictures, all layers."""
    session = shared_session("sd35", "demo:medium")
    file, _ = write_both(session, "transformer", scale=0.2)  # strong ones make much of rounding
    check(session, Request("a red cat on a chair", loras=(file,), guidance=5.0, **SMALL))


def test_layers_are_the_same(write_both):
    """Hooked layers keep their paths, and the modules at these paths are hooked with LoRAs in."""
    session = shared_session("sdxl")
    request = asked(session, write_both(session)[0])
    plain = session.layers(asked(session))
    with session._adapters.active(request.loras):
        assert session.layers(request) == plain
        layer = session.model.get_submodule(plain[1].path)
        assert isinstance(layer.to_q, LoraLayer)


def test_what_fits_in_part(tmp_path):
    """What does not fit is named with its reason, and how much it is; the rest acts."""
    session = shared_session("sdxl")
    pairs = lora_demo.changes(session.pipe, "unet")
    pairs["unet", "down_blocks.9.conv"] = lora_demo.pair(np.random.default_rng(1), (7, 5))
    first = next(iter(pairs))
    pairs[first] = lora_demo.pair(np.random.default_rng(1), (7, 5))
    file = lora_demo.kohya(tmp_path / "a.safetensors", pairs)
    assert not torch.equal(outputs(session, Lora(str(file))), outputs(session))
    (warning,) = remarks(session, Request("a cat", loras=(Lora(str(file)),)))
    total = 3 * len(pairs)
    assert warning.startswith(
        f"{file}: 6 of its {total} tensors fit nothing: lora_unet_down_blocks_"
    )
    assert "(the denoiser has no such module)" in warning
    assert "(the weight has another shape (weight [" in warning
    assert warning.endswith("; they are left out")


def test_what_fits_in_no_part(tmp_path):
    """A LoRA of which more than half fits nothing is refused, whatever its family seems to be."""
    session = shared_session("sdxl")
    rng = np.random.default_rng(2)
    names = [f"up_blocks.0.attentions.{n}.transformer_blocks.77.attn2.to_k" for n in range(5)]
    pairs = {("unet", name): lora_demo.pair(rng, (64, 2048)) for name in names}
    file = lora_demo.kohya(tmp_path / "a.safetensors", pairs)
    with pytest.raises(
        ModelError, match="does not fit this model: 15 of its 15 tensors fit nothing"
    ):
        asked(session, Lora(str(file)))
    good = dict(list(lora_demo.changes(session.pipe, "unet").items())[:4])
    file = lora_demo.kohya(tmp_path / "b.safetensors", pairs | good)
    with pytest.raises(ModelError, match="15 of its 27 tensors fit nothing"):
        asked(session, Lora(str(file)))


def test_a_model_without_t5(tmp_path):
    """The part for an encoder that the model lacks is named, not dropped in silence."""
    session = open_session("sd35")
    pairs = lora_demo.changes(session.pipe)
    file = lora_demo.kohya(tmp_path / "a.safetensors", pairs)
    session.pipe.text_encoder_3 = None
    (warning,) = remarks(session, Request("a cat", loras=(Lora(str(file)),)))
    assert "(the model has no text_encoder_3)" in warning


def test_planning(tmp_path):
    """A session without weights checks what it knows: the denoiser, not the text encoders."""
    from attn.backends import find, load

    backend = load(find("sd35"))
    file = lora_demo.kohya(
        tmp_path / "a.safetensors", lora_demo.changes(shared_session("sd35").pipe)
    )
    plan = backend.open("demo", backend.Options(), Placement("cpu", weights=False))
    known = asked(plan, Lora(str(file)))
    assert known.loras[0].sha256 == lora.read(file).sha256
    assert plan.remarks(known, known) == ()


def test_a_pipeline_with_a_lora_of_its_own(write_both):
    """LoRAs that the owner loaded would mix with those asked for: which is which is not guessed."""
    session = open_session("sdxl")
    file, _ = write_both(session)
    session.pipe.load_lora_weights(file.path)
    with pytest.raises(
        CaptureError, match=r"has a LoRA already; call pipe.unload_lora_weights\(\)"
    ):
        asked(session, file)


def test_fused_projections(write_both):
    """A LoRA of projections that are fused would do nothing, and is refused."""
    session = open_session("sdxl")
    file, _ = write_both(session)
    session.pipe.fuse_qkv_projections()
    with pytest.raises(CaptureError, match=r"call pipe.unet.unfuse_qkv_projections\(\)"):
        asked(session, file)


def test_a_file_that_changes(write_both, tmp_path):
    """A file that is replaced between planning and generating is noticed."""
    session = open_session("sdxl")
    request = asked(session, write_both(session, seed=5)[0])
    write_both(session, "unet", seed=5)
    with pytest.raises(ModelError, match="was replaced: its SHA-256 was"):
        session.generate([request], None)


def test_one_lora_by_two_paths_is_remarked(write_both, tmp_path):
    """The same weights under another name act twice, which the user is told."""
    session = shared_session("sdxl", "demo")
    first, _ = write_both(session, "unet")
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(Path(first.path).read_bytes())
    (warning,) = remarks(session, Request("a cat", loras=(first, Lora(str(copy), 0.5))))
    assert sorted(warning.partition(" have ")[0].split(" and ")) == sorted([first.path, str(copy)])
    assert warning.endswith(" have the same weights: the LoRA acts 2 times")


@pytest.mark.parametrize("modules", [("mid",), ("up.0", "!*attn2*"), ("te",)])
def test_a_lora_of_some_modules(modules, write_both):
    """Restricted to modules, both spellings change these and no others, as the whole does there."""
    session = shared_session("sdxl")
    files = write_both(session)
    wholes, parts = [], []
    for file in files:
        for acting, states in ((file, wholes), (replace(file, modules=modules), parts)):
            with active(session, acting):
                states.append(lora_demo.states(session.pipe))
    own, whole = lora_demo.states(session.pipe), wholes[0]
    changed = {name for name in own if not torch.equal(parts[0][name], own[name])}
    assert changed == {name for name in own if not torch.equal(parts[1][name], own[name])}
    for name in changed:
        assert torch.equal(parts[0][name], whole[name])
    names = {name for name in own if not torch.equal(whole[name], own[name])}
    starts = {"mid": "unet.mid_block", "up.0": "unet.up_blocks.0.", "te": "text_encoder"}
    expected = {name for name in names if name.startswith(starts[modules[0]])}
    assert changed == {name for name in expected if "attn2" not in name or len(modules) == 1}
    assert changed


def test_modules_that_are_not_there(write_both):
    """A pattern that matches nothing is refused before anything is drawn, with what there is."""
    session = shared_session("sdxl")
    file = replace(write_both(session, "unet")[0], modules=("up.7",))
    with pytest.raises(
        ModelError, match=r"no module of the LoRA matches 'up.7'; near it are up\.2"
    ):
        asked(session, file)


@pytest.mark.parametrize("kind", ["lora", "loha"])
def test_a_control_of_the_same_norms(kind, tmp_path):
    """Random changes have the norm that the LoRA has in each module, and nothing else of it."""
    session = shared_session("sdxl")
    pairs = lora_demo.changes(session.pipe)
    file = lora_demo.kohya(tmp_path / "a.safetensors", pairs)
    if kind == "loha":
        tensors = {}
        for (part, path), factors in pairs.items():
            stem = lora_demo.PREFIXES[part] + path.replace(".", "_")
            up, down = factors.up.reshape(len(factors.up), -1), factors.down.reshape(3, -1)
            tensors |= {f"{stem}.hada_w1_a": up, f"{stem}.hada_w1_b": down}
            tensors |= {f"{stem}.hada_w2_a": up + 1, f"{stem}.hada_w2_b": down}
        file = write(tmp_path / "b.safetensors", tensors)
    changes = []
    own = lora_demo.states(session.pipe)
    for seed in (None, 1, 1, 2):
        with active(session, Lora(str(file), -0.5, null=seed)):
            state = lora_demo.states(session.pipe)
        changes.append({name: state[name] - own[name] for name in own})
    real, first, again, other = changes
    for name, change in real.items():
        assert first[name].norm() == pytest.approx(float(change.norm()), rel=1e-4, abs=1e-6)
        assert torch.equal(first[name], again[name])
        if change.norm():
            assert not torch.equal(first[name], other[name])
            assert abs((first[name] * change).sum()) < 0.5 * (change * change).sum()
