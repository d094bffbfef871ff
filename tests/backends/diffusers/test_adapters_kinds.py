"""Changes that are more than two factors, in the demo models: each acts as its formula says."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from attn.backends.diffusers.adapters import scaled
from attn.errors import RequestError
from attn.schema import Lora, Request
from tests.helpers.models import lora_demo
from tests.helpers.models.lora_files import write
from tests.helpers.toy_sessions import remarks, shared_session

pytestmark = pytest.mark.usefixtures("demo_cache")
RANK, ALPHA, STRENGTH = 3, 2.0, -0.75
LAYERS = {
    "sdxl": ("input_blocks.4.0.in_layers.2", "middle_block.1.transformer_blocks.0.attn2.to_k"),
    "sd35": ("joint_blocks.0.x_block.attn.qkv", "final_layer.adaLN_modulation.1"),
}
"""A convolution and a matrix; a matrix of three weights, and one whose halves change places."""


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32) * 0.3


def matrix(weight):
    """Return a weight as a matrix in float64."""
    return np.asarray(weight, np.float64).reshape(len(weight), -1)


def core(rng, weight):
    """Return LoRA with a core between the factors, and its change."""
    rows, columns, *kernel = (*weight.shape, 1, 1)[:4]
    up, down = normal(rng, rows, RANK, 1, 1), normal(rng, RANK + 2, columns, 1, 1)
    mid = normal(rng, RANK, RANK + 2, *kernel)
    tensors = {"lora_down.weight": down, "lora_up.weight": up, "lora_mid.weight": mid}
    change = np.einsum("pi,ijkl,jq->pqkl", matrix(up), mid.astype(float), matrix(down))
    scale = ALPHA / (RANK + 2)
    return tensors | {"alpha": np.float32(ALPHA)}, lambda s: s * scale * matrix(change)


def loha(rng, weight):
    """Return LoHa, and its change."""
    rows, columns = matrix(weight).shape
    sides = {"a": (rows, RANK), "b": (RANK, columns)}
    tensors = {f"hada_w{n}_{side}": normal(rng, *sides[side]) for n in "12" for side in "ab"}
    first, second = (matrix(tensors[f"hada_w{n}_a"]) @ tensors[f"hada_w{n}_b"] for n in "12")
    tensors["alpha"] = np.float32(ALPHA)
    return tensors, lambda s: s * ALPHA / RANK * first * second


def lokr(rng, weight):
    """Return LoKr whose second factor is in factors, and its change by the definition of kron."""
    rows, columns, *kernel = weight.shape
    outer = normal(rng, 2, 4)
    a, b = normal(rng, rows // 2, RANK), normal(rng, RANK, columns // 4, *kernel)
    inner = np.tensordot(a.astype(float), b, 1)
    change = np.empty(weight.shape)
    for (i, j), number in np.ndenumerate(outer):
        block = (slice(i * len(inner), (i + 1) * len(inner)),)
        block += (slice(j * inner.shape[1], (j + 1) * inner.shape[1]),)
        change[block] = float(number) * inner
    tensors = {"lokr_w1": outer, "lokr_w2_a": a, "lokr_w2_b": b.reshape(RANK, -1)}
    return tensors, lambda s: s * matrix(change)


def full(rng, weight):
    """Return a difference as it is."""
    diff = normal(rng, *weight.shape)
    return {"diff": diff}, lambda s: s * matrix(diff)


def factors(rng, weight, names=("lora_down.weight", "lora_up.weight")):
    """Return two factors, and their product."""
    rows, columns, *kernel = weight.shape
    down = normal(rng, RANK, columns, *kernel)
    up = normal(rng, rows, RANK, *(1 for _ in kernel))
    return dict(zip(names, (down, up), strict=True)), matrix(up) @ matrix(down)


def peft_dora(rng, weight):
    """Return DoRA in peft's names: the strength acts within the norm."""
    tensors, product = factors(rng, weight, ("lora_A.weight", "lora_B.weight"))
    sizes = 1 + np.abs(normal(rng, len(weight)))
    is_kernel = weight.ndim > 2
    tensors["lora_magnitude_vector"] = sizes.reshape(1, -1, 1, 1) if is_kernel else sizes

    def change(strength):
        moved = matrix(weight) + strength * product
        return moved * (sizes / np.linalg.norm(moved, axis=1))[:, None] - matrix(weight)

    return tensors, change


def lycoris_dora(rng, weight, *, axis=0):
    """Return DoRA in LyCORIS' names: the strength multiplies all of the change."""
    tensors, product = factors(rng, weight)
    moved = (matrix(weight) + product).reshape(weight.shape)
    others = tuple(item for item in range(weight.ndim) if item != axis)
    norms = np.sqrt((moved**2).sum(others, keepdims=True))
    tensors["dora_scale"] = sizes = 1 + np.abs(normal(rng, *norms.shape))
    change = matrix(sizes / norms * moved) - matrix(weight)
    return tensors, lambda s: s * change


def dora_of_columns(rng, weight):
    """Return DoRA with a magnitude for each input channel."""
    return lycoris_dora(rng, weight, axis=1)


def ia3(rng, weight):
    """Return (IA)³ of input channels, and its change."""
    vector = normal(rng, weight.shape[1])
    change = matrix(weight * vector.reshape(-1, *(1 for _ in weight.shape[2:])).astype(float))
    return {"weight": vector, "on_input": np.array(1)}, lambda s: s * change


def glora(rng, weight):
    """Return GLoRA, and its change."""
    rows, columns, *kernel = weight.shape
    a, b, c = normal(rng, columns, 2), normal(rng, 2, columns), normal(rng, rows, 2)
    d = normal(rng, 2, columns, *kernel)
    seen = np.moveaxis(np.tensordot(np.float64(weight), a.astype(float) @ b, (1, 0)), -1, 1)
    change = matrix(seen) + matrix(c) @ matrix(d)
    tensors = dict(
        zip(("a1.weight", "a2.weight", "b1.weight", "b2.weight"), (a, b, c, d), strict=True)
    )
    return tensors, lambda s: s * change


def oft(rng, weight):
    """Return OFT in two blocks, and its change by one large rotation."""
    half = len(weight) // 2
    blocks = normal(rng, 2, half, half)
    skew = np.zeros((2 * half, 2 * half))
    for index, block in enumerate(blocks.astype(float)):
        part = slice(index * half, (index + 1) * half)
        skew[part, part] = block - block.T
    item = np.eye(2 * half)
    rotation = np.linalg.solve((item - skew).T, (item + skew).T).T
    change = rotation.T @ matrix(weight) - matrix(weight)
    return {"oft_blocks": blocks, "alpha": np.float32(0)}, lambda s: s * change


KINDS = [
    *(core, loha, lokr, full, peft_dora, lycoris_dora, dora_of_columns),
    *(ia3, glora, oft),
]


def drawn_with(tmp_path, tensors, **strength):
    """Return a request with a file of changes."""
    file = Lora(str(write(tmp_path / "a.safetensors", tensors)), **strength)
    return Request("a red cat", loras=(file,), width=80, height=48)


def put_in(session, tmp_path, tensors, **strength):
    """Return a context in which changes are in a session's model."""
    request = session.complete(drawn_with(tmp_path, tensors, **strength))
    return session._adapters.active(request.loras)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", LAYERS)
def test_weights_are_those_of_the_formula(backend, kind, tmp_path):
    """In every layout weights are those of the formula in float64, and the base's afterwards."""
    session, rng = shared_session(backend), np.random.default_rng(41)
    before = {name: value.clone() for name, value in lora_demo.original(session.model).items()}
    tensors, expected = {}, {}
    for layer in LAYERS[backend]:
        own, change = kind(rng, before[f"{layer}.weight"].numpy())
        tensors |= {f"unet.{layer}.{end}": values for end, values in own.items()}
        expected[f"{layer}.weight"] = change(STRENGTH)
    modules = dict(session.model.named_modules())
    with put_in(session, tmp_path, tensors, scale=STRENGTH):
        after = lora_demo.original(lora_demo.merged(session.model))
    assert remarks(session, drawn_with(tmp_path, tensors, scale=STRENGTH)) == ()
    assert all(modules[path] is module for path, module in session.model.named_modules())
    own = lora_demo.original(session.model)
    for name, weight in after.items():
        assert torch.equal(own[name], before[name])
        if name not in expected:
            assert torch.equal(weight, before[name].double())
    for name, change in expected.items():
        result = matrix(after[name]) - matrix(before[name])
        np.testing.assert_allclose(result, change, atol=3e-6)


BIASES = {"lora_B.bias": 0.5, "diff_b": 1.0}
"""What stands beside two factors of scale 0.5, and what it is multiplied by."""


@pytest.mark.parametrize("ending", BIASES)
@pytest.mark.parametrize("path", ["attn.to_out.0", "ff.net.2"])
def test_biases(path, ending, tmp_path):
    """A bias of the second factor is scaled with the factors; a difference is added as it is."""
    session, rng = shared_session("sd35"), np.random.default_rng(43)
    stem = f"transformer_blocks.0.{path}"
    module = session.model.get_submodule(stem)
    tensors, product = factors(rng, module.weight.detach(), ("lora_A.weight", "lora_B.weight"))
    tensors |= {ending: normal(rng, len(module.bias)), "alpha": np.float32(RANK / 2)}
    named = {f"transformer.{stem}.{end}": values for end, values in tensors.items()}
    with put_in(session, tmp_path, named, scale=STRENGTH):
        changed = lora_demo.merged(session.model).get_submodule(stem)
    result = (changed.bias - module.bias.double()).detach().numpy()
    np.testing.assert_allclose(result, STRENGTH * BIASES[ending] * tensors[ending], atol=1e-6)
    result = (changed.weight - module.weight.double()).detach().numpy()
    np.testing.assert_allclose(result, STRENGTH / 2 * product, atol=1e-6)


def test_a_norm_layer(tmp_path):
    """Scale and shift of a norm layer are changed by their differences."""
    session, rng = shared_session("sdxl"), np.random.default_rng(71)
    path = "down_blocks.1.resnets.0.norm2"
    module = session.model.get_submodule(path)
    tensors = {f"{name}_norm": normal(rng, len(module.weight)) for name in "wb"}
    named = {f"lora_unet_{path.replace('.', '_')}.{end}": tensor for end, tensor in tensors.items()}
    with put_in(session, tmp_path, named, scale=STRENGTH):
        changed = session.model.get_submodule(path)
    for end, before, after in (
        ("w_norm", module.weight, changed.weight),
        ("b_norm", module.bias, changed.bias),
    ):
        result = (after.double() - before.double()).detach()
        np.testing.assert_allclose(result, STRENGTH * tensors[end], atol=1e-6)


def test_a_bias_where_there_is_none(tmp_path):
    """A module without a bias has one while a LoRA with a bias is in it."""
    session, rng = shared_session("sdxl"), np.random.default_rng(47)
    path = next(p for p, _ in session.model.named_modules() if p.endswith("attn2.to_k"))
    module = session.model.get_submodule(path)
    bias = normal(rng, len(module.weight))
    with put_in(session, tmp_path, {f"unet.{path}.diff_b": bias}):
        changed = session.model.get_submodule(path)
        assert torch.equal(changed.bias, torch.from_numpy(bias))
        assert changed.weight is module.weight
    assert module.bias is None
    assert session.model.get_submodule(path) is module


@pytest.mark.parametrize("scales", [(0.5, 2.0), (0.0, 1.0), (1.0, 0.0)])
def test_strength_by_part(scales, tmp_path):
    """Each part of the model is changed at its own scale, and not at all at 0."""
    session = shared_session("sdxl")
    parts = dict(zip(("unet", "text_encoder_2"), scales, strict=True))
    pairs = lora_demo.changes(session.pipe, *parts)
    file = lora_demo.kohya(tmp_path / "a.safetensors", pairs)
    requested = Lora(str(file), parts=(("denoiser", scales[0]), ("text_encoder_2", scales[1])))
    request = session.complete(Request("a red cat", loras=(requested,), width=80, height=48))
    with session._adapters.active(request.loras):
        result = {part: lora_demo.merged(getattr(session.pipe, part)) for part in parts}
    for (part, path), pair in pairs.items():
        own = getattr(session.pipe, part).get_submodule(path).weight.double()
        changed = result[part].get_submodule(path).weight - own
        np.testing.assert_allclose(changed.detach(), parts[part] * pair.change, atol=1e-6)


def test_a_part_that_is_not_changed(tmp_path):
    """A scale for a part that the file does not change is warned of."""
    session = shared_session("sdxl")
    file = lora_demo.kohya(tmp_path / "a.safetensors", lora_demo.changes(session.pipe, "unet"))
    parts = tuple((part, 0.5) for part in ("text_encoder", "text_encoder_2"))
    message = f"{file} changes no text_encoder and no text_encoder_2: their scale has no effect"
    requested = Request("a cat", loras=(Lora(str(file), parts=parts),))
    assert remarks(session, requested) == (message,)


def test_a_scale_for_the_text_encoders_of_all_loras(tmp_path, monkeypatch):
    """The option gives way to what a LoRA says by part, and leaves denoiser and request alone."""
    session = shared_session("sdxl")
    file = lora_demo.kohya(tmp_path / "a.safetensors", lora_demo.changes(session.pipe, "unet"))
    options = replace(session.options, lora_text_encoder_scale=0.5)
    monkeypatch.setattr(session, "options", options)
    requested = (Lora(str(file), 0.7), Lora(str(file), parts=(("text_encoder", 0.3),)))
    request = session.complete(Request("a cat", loras=requested))
    assert [item.parts for item in request.loras] == [item.parts for item in requested]
    first, second = session._scaled(request.loras)
    parts = ("denoiser", "text_encoder", "text_encoder_2")
    assert [first.scale_of(part) for part in parts] == [0.7, 0.5, 0.5]
    assert [second.scale_of(part) for part in parts] == [1, 0.3, 0.5]
    told = session.remarks(request, request)
    assert any("their scale has no effect" in remark for remark in told)


def test_a_text_encoder_scale_that_is_no_number():
    """What would draw noise is refused."""
    with pytest.raises(RequestError, match="lora_text_encoder_scale must be a number; got nan"):
        scaled((Lora("a.safetensors"),), float("nan"))


def test_an_embedding_is_warned_of(tmp_path):
    """Who draws with a file that has an embedding is told of its word."""
    session, rng = shared_session("sdxl"), np.random.default_rng(53)
    path = next(p for p, _ in session.model.named_modules() if p.endswith("attn2.to_k"))
    tensors, _ = full(rng, session.model.get_submodule(path).weight.detach())
    tensors = {f"unet.{path}.diff": tensors["diff"], "bundle_emb.toy.clip_l": normal(rng, 2, 7)}
    (warning,) = remarks(session, drawn_with(tmp_path, tensors))
    assert "1 tensor of an embedding for the word 'toy', which is not read" in warning


def test_two_adapters_of_a_file(tmp_path):
    """Of two adapters in a file the one that is chosen acts, and both together if both are."""
    session, rng = shared_session("sdxl"), np.random.default_rng(59)
    path = next(p for p, _ in session.model.named_modules() if p.endswith("attn2.to_k"))
    module = session.model.get_submodule(path)
    tensors, products = {}, {}
    for name in ("style", "eyes"):
        ends = (f"lora_A.{name}.weight", f"lora_B.{name}.weight")
        own, products[name] = factors(rng, module.weight.detach(), ends)
        tensors |= {f"unet.{path}.{end}": values for end, values in own.items()}
    file = str(write(tmp_path / "a.safetensors", tensors))
    loras = tuple(Lora(file, scale, adapter=name) for name, scale in (("style", 2), ("eyes", 1)))
    for stack in (loras, loras[:1]):
        request = session.complete(Request("a cat", loras=stack))
        with session._adapters.active(request.loras):
            changed = lora_demo.merged(session.model).get_submodule(path).weight
        result = (changed - module.weight.double()).detach()
        expected = sum(lora.scale * products[lora.adapter] for lora in stack)
        np.testing.assert_allclose(result, expected, atol=2e-6)


PATTERNS = {
    "rank_pattern": {".*attn2.*": 2},
    "alpha_pattern": {r".*\.attn2\.(to_q|to_k)": 7, "to_k": 3},
}
SCALED = {"r": 3, "target_modules": ["to_q", "to_k", "conv1"], "init_weights": False}
FACTORS = {"r": 3, "lora_alpha": 2, "target_modules": ["to_q", "to_k"], "init_lora_weights": False}
CONFIGS = {
    "dora": ("LoraConfig", FACTORS | {"use_dora": True}),
    "bias": ("LoraConfig", FACTORS | {"lora_bias": True, "target_modules": ["to_out.0"]}),
    "patterns": ("LoraConfig", FACTORS | {"use_rslora": True} | PATTERNS),
    "loha": ("LoHaConfig", SCALED | {"alpha": 2} | PATTERNS),
    "loha core": ("LoHaConfig", SCALED | {"alpha": 2, "use_effective_conv2d": True}),
    "lokr": ("LoKrConfig", SCALED | {"alpha": 2, "decompose_both": True} | PATTERNS),
    "lokr whole": ("LoKrConfig", SCALED | {"alpha": 200, "r": 300}),
    "ia3": (
        "IA3Config",
        {"target_modules": ["to_out.0", "net.2"], "feedforward_modules": ["net.2"]},
    ),
}
"""Classes of peft's configurations, and what they are given."""


@pytest.mark.filterwarnings("ignore::UserWarning:peft")
@pytest.mark.parametrize("name", CONFIGS)
def test_what_peft_saves_is_what_peft_merges(name, tmp_path):
    """A folder of peft changes weights and biases as peft itself does."""
    from copy import deepcopy

    import peft

    session = shared_session("sdxl")
    kind, config = CONFIGS[name]
    torch.manual_seed(67)
    twin = peft.get_peft_model(deepcopy(session.model), getattr(peft, kind)(**config))
    for path, parameter in twin.named_parameters():
        if "magnitude" in path or "ia3" in path:
            parameter.data *= 1.5
    twin.save_pretrained(tmp_path)
    expected = twin.double().merge_and_unload().state_dict()
    request = session.complete(Request("a cat", loras=(Lora(str(tmp_path)),)))
    with session._adapters.active(request.loras):
        result = lora_demo.merged(session.model).state_dict()
    own = session.model.state_dict()
    assert any((expected[path] - own[path]).abs().max() > 0.01 for path in own)
    for path, weight in expected.items():
        torch.testing.assert_close(result[path], weight, rtol=0, atol=3e-6)
