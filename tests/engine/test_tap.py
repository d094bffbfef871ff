"""`attn.tap` on models that no backend knows."""

import copy
import gc
from contextlib import nullcontext
from threading import Event, Thread

import numpy as np
import pytest
import torch
from peft import LoraConfig
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils.checkpoint import checkpoint

import attn
from attn.errors import CaptureError, UsageError

HEADS, DIM, LENGTH, BATCH = 3, 7, 11, 2


class Attention(nn.Module):
    """Self-attention of three heads, as anyone would write it."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(HEADS * DIM, 3 * HEADS * DIM)
        self.seen = []

    def forward(self, x):
        query, key, value = self.qkv(x).unflatten(-1, (3, HEADS, DIM)).permute(2, 0, 3, 1, 4)
        self.seen.append((query, key))
        out = functional.scaled_dot_product_attention(query, key, value)
        return out.transpose(1, 2).flatten(2)


@pytest.fixture
def model():
    torch.manual_seed(5)
    return nn.Sequential(Attention(), nn.Linear(HEADS * DIM, HEADS * DIM), Attention()).eval()


@pytest.fixture
def x():
    torch.manual_seed(7)
    return torch.randn(BATCH, LENGTH, HEADS * DIM)


def softmax(query, key):
    """The oracle: softmax in float64, (batch, head, query, key)."""
    query, key = query.detach().double().numpy(), key.detach().double().numpy()
    logits = query @ np.swapaxes(key, -1, -2) / np.sqrt(query.shape[-1])
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


@torch.no_grad()
def test_probs_are_exact_and_the_output_is_the_same(model, x):
    """Factors give float64's probabilities to 1e-5, and tapping changes no bit of the output."""
    plain = model(x)
    with attn.tap(model, keep="factors") as tapped:
        assert torch.equal(model(x), plain)
    expected = softmax(*model[2].seen[-1])
    for sample in range(BATCH):
        got = tapped.trace.probs(layer="2", step=0, sample=sample)
        assert np.abs(got - expected[sample]).max() < 1e-5
    assert torch.equal(model(x), plain)


@torch.no_grad()
def test_shows_itself(model, x):
    """In a notebook a tap is its trace, once its block has ended."""
    with attn.tap(model) as tapped:
        model(x)
        assert list(tapped._repr_mimebundle_()) == ["text/plain"]
    assert "<iframe" in tapped._repr_mimebundle_()["text/html"]


@torch.no_grad()
def test_mass_is_the_mean_over_queries(model, x):
    """The small measures of a tapped model are those of every trace."""
    with attn.tap(model, "0") as tapped:
        model(x)
    mass = tapped.trace.mass(layer=0, block="all.all").squeeze(["step", "branch"])
    assert np.abs(mass - softmax(*model[0].seen[-1]).mean(2)).max() < 1e-5


@torch.no_grad()
def test_every_forward_is_a_step(model, x):
    """Forwards are told apart, also when the numbers differ."""
    with attn.tap(model) as tapped:
        model(x)
        model(2 * x)
    maps = tapped.trace.maps(layer=1, block="all.all")
    assert maps.sizes["step"] == 2
    assert not np.array_equal(maps.isel(step=0), maps.isel(step=1))


@torch.no_grad()
def test_taps_within_taps(model, x):
    """Two taps on one module see the same attention: one's checks are no kernels of the other."""
    with attn.tap(model) as outer, attn.tap(model) as inner:
        model(x)
    for layer in range(len(outer.trace.layers)):
        assert outer.trace.mass(layer, "all.all").equals(inner.trace.mass(layer, "all.all"))


@torch.no_grad()
def test_reduced_precision_is_the_models_own(model, x):
    """Who allows TF32 or bfloat16 products allows them to the model, not to what is measured."""
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    before, seen = torch.get_float32_matmul_precision(), []
    torch.set_float32_matmul_precision("medium")
    try:
        allowed = [backend.fp32_precision for backend in backends]
        with attn.tap(
            model, see=lambda *_: seen.append([item.fp32_precision for item in backends])
        ):
            model(x)
        assert [backend.fp32_precision for backend in backends] == allowed == ["tf32", "bf16"]
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == [["ieee", "ieee"]] * 2


def test_see_is_told_during_the_forward(model, x):
    """A callback gets the path and the kernel's own numbers."""
    told = []
    with attn.tap(model, ["0", "2"], see=lambda path, item: told.append((path, item.shape))):
        model(x)
    shape = (BATCH, HEADS, LENGTH, LENGTH)
    assert told == [("0", shape), ("2", shape)]


@torch.no_grad()
def test_saved_and_opened_again(model, x, tmp_path):
    """A tapped trace saves to disk and reads the same."""
    with attn.tap(model, keep="heads") as tapped:
        model(x)
    tapped.trace.save(tmp_path / "run")
    again = attn.open(tmp_path / "run").headmaps(layer=1, block="all.all")
    assert np.array_equal(again, tapped.trace.headmaps(layer=1, block="all.all"))


@torch.no_grad()
def test_grouped_causal_language_model():
    """A Llama with grouped queries and a causal mask gives float64's probabilities."""
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        vocab_size=53,
    )
    llama = LlamaModel(config).eval()
    ids = torch.tensor([[3, 5, 7, 11, 13]])
    seen = []
    with attn.tap(
        llama, "layers.*.self_attn", keep="factors", see=lambda *one: seen.append(one)
    ) as tapped:
        llama(ids)
    query, key, _ = seen[0][1].factors()
    logits = query.double() @ key.double().repeat_interleave(6 // key.shape[1], 1).mT / 2
    hidden = torch.ones(5, 5, dtype=torch.bool).triu(1)
    expected = logits.masked_fill(hidden, -torch.inf).softmax(-1)[0].numpy()
    assert np.abs(tapped.trace.probs(layer=0, step=0) - expected).max() < 1e-5


@pytest.fixture
def slow_path():
    """Switch off the path of nn.MultiheadAttention that torch leaves while it is hooked."""
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


@torch.no_grad()
def test_torch_attention_module_on_its_fast_path(x):
    """nn.MultiheadAttention is refused where hooks would change its numbers."""
    module = nn.MultiheadAttention(HEADS * DIM, HEADS, batch_first=True).eval()
    with pytest.raises(CaptureError, match="set_fastpath_enabled"), attn.tap(module):
        module(x, x, x)


@torch.no_grad()
@pytest.mark.parametrize("open_softmax", [False, True], ids=["fused", "open"])
def test_torch_attention_module(slow_path, x, open_softmax):
    """nn.MultiheadAttention itself can be tapped, fused or not, every head of every sample."""
    module = nn.MultiheadAttention(HEADS * DIM, HEADS, batch_first=True).eval()
    text = torch.randn(BATCH, LENGTH + 2, HEADS * DIM)
    arguments = {"need_weights": open_softmax, "average_attn_weights": False}
    plain, _ = module(x, text, text, **arguments)
    with attn.tap(module, keep="heads") as tapped:
        out, _ = module(x, text, text, **arguments)
    _, expected = module(x, text, text, need_weights=True, average_attn_weights=False)
    assert torch.equal(out, plain)
    got = tapped.trace.headmaps(layer="", block="all.all").squeeze(["step", "branch"])
    assert got.shape == (BATCH, HEADS, LENGTH, LENGTH + 2)
    assert np.abs(got - expected.numpy()).max() < 1e-3


@torch.no_grad()
def test_active_lora(opened):
    """With a LoRA active in the UNet, its query and key are seen, and no bit is changed."""
    unet = copy.deepcopy(opened("sdxl").model)
    inputs = {
        "sample": torch.randn(2, 4, 6, 8),
        "timestep": 7,
        "encoder_hidden_states": torch.randn(2, 77, unet.config.cross_attention_dim),
        "added_cond_kwargs": {"text_embeds": torch.randn(2, 48), "time_ids": torch.ones(2, 6)},
    }
    base = unet(**inputs).sample
    unet.add_adapter(LoraConfig(r=3, target_modules=["to_q", "to_k"], init_lora_weights=False), "a")
    plain = unet(**inputs).sample
    path = "mid_block.attentions.0.transformer_blocks.1.attn2"
    module, seen = unet.get_submodule(path), []
    for part in (module.to_q, module.to_k):
        part.register_forward_hook(lambda *hooked: seen.append(hooked[2]))
    with attn.tap(unet, "*.attn2", keep="factors") as tapped:
        out = unet(**inputs).sample
    assert torch.equal(out, plain)
    assert not torch.equal(out, base)
    query, key = (item.unflatten(-1, (module.heads, -1)).transpose(1, 2) for item in seen)
    for sample in range(2):
        got = tapped.trace.probs(layer=path, step=0, sample=sample)
        assert np.abs(got - softmax(query, key)[sample]).max() < 1e-5
    assert len(tapped.trace.layers) == 17


class Twice(nn.Module):
    """Attends twice in one forward, the second time to half of the keys."""

    def __init__(self, keys):
        super().__init__()
        self.keys = keys

    def forward(self, x):
        functional.scaled_dot_product_attention(x, x, x)
        some = x[:, :, : self.keys]
        return functional.scaled_dot_product_attention(x, some, some)


@torch.no_grad()
@pytest.mark.parametrize(
    ("keys", "layers", "blocks"),
    [
        (LENGTH, ["0", "0#2"], [("all.all",), ("all.all",)]),
        (5, ["0"], [("all.sequence", "all.key")]),
    ],
)
def test_two_kernels_of_one_module(keys, layers, blocks):
    """Attention to other keys is a block of the layer; to the same once more a layer of its own."""
    model, x = nn.Sequential(Twice(keys)), torch.randn(BATCH, HEADS, LENGTH, DIM)
    with attn.tap(model, keep="heads") as tapped:
        model(x)
        model(x)
    assert [layer.path for layer in tapped.trace.layers] == layers
    assert [layer.blocks for layer in tapped.trace.layers] == blocks
    got = tapped.trace.headmaps(len(layers) - 1, blocks[-1][-1]).isel(step=1).squeeze("branch")
    np.testing.assert_allclose(got, softmax(x, x[:, :, :keys]), atol=6e-4)


class Sometimes(nn.Module):
    """Runs its second attention only where it is asked to."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Attention(), Attention()

    def forward(self, x, whole):
        x = self.first(x)
        return self.second(x) if whole else x


@torch.no_grad()
def test_module_that_does_not_always_run(x):
    """Where a module did not run, its numbers are missing, not those of another forward."""
    model = Sometimes()
    with attn.tap(model) as tapped:
        for whole in (True, False, True):
            model(x, whole)
    first, second = (tapped.trace.mass(layer=name, block="all.all") for name in ("first", "second"))
    assert np.isnan(second[1]).all()
    assert not np.isnan(second[[0, 2]]).any()
    assert not np.isnan(first).any()


def test_part_that_is_called_by_itself(model, x):
    """Attention outside of a forward of the tapped model belongs to no step."""
    with pytest.raises(CaptureError) as error, attn.tap(model):
        model[2](x)
    assert str(error.value) == (
        "2 ran outside of a forward of the tapped model, so it belongs to no step; "
        "call the tapped model, or tap what is called"
    )


@torch.no_grad()
def test_open_softmax_has_no_factors(slow_path, x):
    """Where the model computes its softmax in the open, factors are refused with the way out."""
    module = nn.MultiheadAttention(HEADS * DIM, HEADS, batch_first=True).eval()
    refused = pytest.raises(CaptureError, match="keep heads instead of factors")
    with refused, attn.tap(module, keep="factors"):
        module(x, x, x)


def test_unknown_level(model, unchecked):
    """A level that does not exist is refused, with those that do."""
    with pytest.raises(UsageError, match=r"^keep: expected one of mass, means, .*; got 'all'"):
        attn.tap(model, keep="all")


@torch.no_grad()
def test_means_need_a_text(model, x):
    """Forwards that read no token ids need not be steps of one generation: no mean of them."""
    refused = pytest.raises(CaptureError, match=r"^keep='means': the model reads no token ids")
    with refused, attn.tap(model, keep="means"):
        model(x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 3}, "layers: expected globs of module paths; got 3"),
        ({"every": 0}, "every: expected 1 or more forwards; got 0"),
        ({"every": 1.5}, "every: expected 1 or more forwards; got 1.5"),
        ({"see": "x"}, "see: expected a function of .path, attention.; got 'x'"),
        ({"axes": 5}, "axes: expected letters, or letters by globs; got 5"),
        ({"value_norm": 5}, "value_norm: expected True, or the path of the output projection; got"),
        ({"segments": {"a": 3.5}}, "segments: expected lengths by name, such as"),
        ({"segments": {"a.b": 3, "c": 4}}, "segments: a segment cannot be called 'a.b'; expected"),
        ({"segments": {"all": 7}}, "segments: a segment cannot be called 'all'; expected letters"),
        ({"segments": {1: 7}}, "segments: expected lengths by name, such as"),
        ({"segments": [("a", 7)]}, "segments: expected lengths by name, such as"),
        ({"grid": 4}, "grid: expected rows and columns, such as .32, 32., or .* columns; got 4"),
        ({"segments": {"image": 6}, "grid": (-2, -3)}, "grid: expected rows and columns, such as"),
        ({"padding": "x"}, "padding: expected .row, position. of True and False; got 'x'"),
        ({"segments": {}}, "segments: expected lengths by name, such as"),
        ({"segments": {"a": 0}}, "segments: expected lengths by name, such as"),
        ({"segments": {"image": 7}, "grid": (2, 3)}, "grid: 2x3 does not hold the 7 positions"),
        ({"padding": [1, 0]}, "padding: expected .row, position. of True and False"),
        ({"tokens": "a text"}, "tokens: expected a tokenizer of transformers, or a text for each"),
    ],
)
def test_options(model, options, message, unchecked):
    """What an option cannot be is refused before anything runs, with what it should be."""
    with pytest.raises(UsageError, match=f"^{message}"):
        attn.tap(model, **options)


def test_no_module(unchecked):
    """What is no torch module is refused by what it is."""
    with pytest.raises(UsageError) as error:
        attn.tap("x")
    advice = "load the model and pass it, as in attn.tap(model)"
    assert str(error.value) == f"tap: expected a torch module, got str 'x'; {advice}"


@torch.no_grad()
def test_factors_saved_and_opened_again(model, x, tmp_path):
    """Probabilities recomputed from saved factors are those of the tapped model."""
    with attn.tap(model, "0", keep="factors") as tapped:
        model(x)
    tapped.trace.save(tmp_path / "run")
    for sample in range(BATCH):
        got = attn.open(tmp_path / "run").probs(layer="0", step=0, sample=sample)
        assert np.abs(got - softmax(*model[0].seen[-1])[sample]).max() < 1e-5


def test_nothing_seen_is_an_error(model):
    """A block in which no attention ran does not end as an empty trace."""
    with pytest.raises(CaptureError, match="no attention kernel ran"), attn.tap(model):
        pass


def test_unknown_modules_are_an_error(model):
    """A glob that matches nothing is named, and the option that it is of."""
    for name, value in (("layers", "zzz.*"), ("axes", {"zzz.*": "bqhk"})):
        text = rf"^{name}: no module of Sequential matches 'zzz\.\*'; there is the model itself, "
        with pytest.raises(UsageError, match=text):
            attn.tap(model, **{name: value})


@torch.no_grad()
def test_changed_shapes_are_an_error(model, x):
    """Forwards of other lengths cannot share one trace; the message says what to do."""
    with pytest.raises(CaptureError) as error, attn.tap(model):
        model(x)
        model(x[:, :5])
    assert str(error.value) == (
        "0 changed its shape between forwards: first a sequence of 11 attends to itself with "
        "3 heads, then a sequence of 5 attends to itself with 3 heads; use one tap for each shape"
    )


@torch.no_grad()
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": (2, 3)}, "grid= has 2 x 3 = 6 places, but the tapped modules attend with 11 p"),
        ({"segments": {"a": 7}}, "segments= names 7 positions .a 7., but the tapped modules att"),
    ],
)
def test_positions_that_no_sequence_has(model, x, options, message):
    """A grid or segments that fit nothing are an error, and the trace is kept."""
    with pytest.raises(CaptureError, match=f"^{message}"), attn.tap(model, **options) as tapped:
        model(x)
    assert tapped.trace.manifest.status == "complete"


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, nullcontext])
def test_attention_to_nothing(x, context):
    """A kernel without keys is no part of the trace, nor is a softmax over none."""

    class Empty(Attention):
        def forward(self, x):
            nothing = x[:, :0]
            more = functional.scaled_dot_product_attention(x, nothing, nothing)
            return super().forward(x + more + (x @ nothing.mT).softmax(-1) @ nothing)

    with context(), attn.tap(Empty()) as tapped:
        tapped._model(x)
    assert [layer.blocks for layer in tapped.trace.layers] == [("all.all",)]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_hooks_are_gone_after_an_error(model, x, error):
    """Whatever leaves the block, no hook and no mode stays behind."""

    def fail(path, attention):
        raise error

    with pytest.raises(error), attn.tap(model, see=fail):
        model(x)
    hooks = [
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    ]
    assert (sum(hooks), _get_current_dispatch_mode_stack()) == (0, [])


def test_trace_waits_for_the_end(model):
    """Asking too early is an error that says so."""
    with pytest.raises(CaptureError, match="ready after the `with` block"):
        _ = attn.tap(model).trace


@torch.no_grad()
def test_forward_that_raises_is_no_step(model, x):
    """What was recorded before an error stays, as a partial trace without the broken forward."""
    calls = []

    def fail(path, attention):
        calls.append(path)
        if len(calls) > 3:  # in the second forward, after its first attention
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"), attn.tap(model, see=fail) as tapped:
        model(x)
        model(x)
    trace = tapped.trace
    assert (trace.manifest.status, len(trace.steps)) == ("partial", 1)
    assert not any(np.isnan(trace.mass(layer=layer, block="all.all")).any() for layer in "02")


def test_no_forward_that_ended(model, x):
    """Without a whole forward there is no trace, and the message says why."""

    def fail(path, attention):
        raise ValueError

    with pytest.raises(ValueError), attn.tap(model, see=fail) as tapped:
        model(x)
    with pytest.raises(CaptureError, match=r"^there is no trace: no forward of the"):
        _ = tapped.trace


@torch.no_grad()
def test_two_threads_at_once(model, x):
    """A second thread is not recorded while a forward runs; the first one's step stays whole."""
    results = []

    def call_elsewhere(path, attention):
        other = Thread(target=lambda: results.append(model(x)))
        other.start()
        other.join()

    refused = pytest.raises(CaptureError, match=r"^two threads call the tapped Sequential at once")
    with refused, attn.tap(model, see=call_elsewhere) as tapped:
        model(x)
    assert len(results) == 2  # the user's call is none of the tap's business
    assert len(tapped.trace.steps) == 1
    assert not np.isnan(tapped.trace.mass(layer="2", block="all.all")).any()


@torch.no_grad()
def test_a_block_that_ends_while_another_thread_runs(model, x):
    """The forward of the other thread goes on as it would without a tap, and no hook stays."""
    results, inside, left = [], Event(), Event()

    def pause(path, attention):
        inside.set()
        left.wait()

    other = Thread(target=lambda: results.append(model(x)))
    refused = pytest.raises(CaptureError, match=r"^two threads call the tapped Sequential at once")
    with refused, attn.tap(model, see=pause):
        other.start()
        inside.wait()
    left.set()
    other.join()
    assert torch.equal(results[0], model(x))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


@torch.no_grad()
def test_taps_in_two_threads(model, x):
    """Each of two taps of one model is whole, or says why it is not; no forward ever fails."""
    raised, results = [], []

    def record():
        try:
            with attn.tap(model):
                results.extend(model(x) for _ in range(31))
        except CaptureError as error:
            raised.append(str(error))

    threads = [Thread(target=record) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 62
    assert all(torch.equal(result, results[0]) for result in results)
    assert all(error.startswith("two threads ") for error in raised)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_one_block_each(model, x):
    """A tap that is entered again would count steps twice: refused, and the first goes on."""
    with torch.no_grad(), attn.tap(model) as tapped:
        with pytest.raises(UsageError, match="a tap records one `with` block"), tapped:
            pass
        model(x)
    assert len(tapped.trace.steps) == 1


@torch.no_grad()
def test_forgotten_tap_lets_go(model, x):
    """A tap that nobody holds any more does not go on recording."""
    tapped = attn.tap(model).__enter__()
    del tapped
    gc.collect()
    hooks = [
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    ]
    assert sum(hooks) == 0


class Checkpointed(nn.Module):
    """Runs a model under gradient checkpointing."""

    def __init__(self, inner, is_reentrant):
        super().__init__()
        self.inner, self.is_reentrant = inner, is_reentrant

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=self.is_reentrant)


def train(model, x, tap=None):
    """Return the gradients of one backward pass, inside of a tap if there is one."""
    model.zero_grad()
    with tap or nullcontext():
        model(x.clone().requires_grad_()).square().sum().backward()
    return [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("is_reentrant", [False, True])
@pytest.mark.parametrize("is_outer", [False, True])
def test_gradient_checkpointing(model, x, is_reentrant, is_outer):
    """What a backward pass computes again is no step, and gradients are the same, bit for bit."""
    checkpointed = Checkpointed(model, is_reentrant)
    whole = Checkpointed(checkpointed, is_reentrant) if is_outer else checkpointed
    plain = train(whole, x)
    tapped = attn.tap(checkpointed, keep="heads")
    assert all(map(torch.equal, train(whole, x, tapped), plain))
    with torch.no_grad(), attn.tap(model, keep="heads") as alone:
        model(x)
    assert len(tapped.trace.steps) == 1 and tapped.trace.manifest.status == "complete"
    np.testing.assert_array_equal(tapped.trace.mass(0, "all.all"), alone.trace.mass(0, "all.all"))


class TwiceAttention(nn.Module):
    """Attends to a text and then to a picture, as with an IP-Adapter."""

    def forward(self, x, text, picture):
        return sum(
            functional.scaled_dot_product_attention(x, keys, keys) for keys in (text, picture)
        )


def test_module_that_attends_twice():
    """Two attentions in one forward, to a text and to a picture, are two blocks of one layer."""
    generator = torch.Generator().manual_seed(5)
    x, text, picture = (
        torch.randn(BATCH, HEADS, length, DIM, generator=generator) for length in (LENGTH, 13, 4)
    )
    with attn.tap(model := TwiceAttention().eval(), "", keep="heads") as tapped:
        model(x, text, picture)
        model(x, text, picture)
    assert tapped.trace.layers[0].blocks == ("all.key", "all.key-2")
    for block, keys in (("all.key", text), ("all.key-2", picture)):
        maps = tapped.trace.headmaps(layer=0, block=block).isel(step=1).squeeze("branch")
        np.testing.assert_allclose(maps, softmax(x, keys), atol=6e-4)
