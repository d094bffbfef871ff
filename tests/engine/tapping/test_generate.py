"""`attn.tap` around `generate`: texts that grow, their padding, their caches."""

import numpy as np
import pytest
import torch
from transformers import DynamicCache, LogitsProcessor, MistralConfig, MistralForCausalLM

import attn
from attn.analysis.needs import find_lack
from attn.analysis.texts import flow
from attn.errors import CaptureError
from tests.helpers.models import language_models as tiny
from tests.helpers.models.language_models import BATCH, IDS, KEY_HEADS, MASKS, NEW, PROMPT

LENGTH = PROMPT + NEW - 1  # the last token is written, but never read
SPANS = [(0, PROMPT), *((stop - 1, stop) for stop in range(PROMPT + 1, LENGTH + 1))]
CAUSAL = [
    (name, kernel)
    for name in ("llama", "one key head", "gpt2", "window", "latent", "experts")
    for kernel in ("sdpa", "eager")
]
CACHES = [{}, {"cache_implementation": "static"}, {"use_cache": False}]


def tapped_text(name, kernel="sdpa", mask=None, keep="heads", every=1, **options):
    """Return the trace of a tapped generation, and the ids that its model read."""
    model = tiny.make(name, kernel)
    with attn.tap(model, keep=keep, every=every) as tapped:
        ids = tiny.generate(model, mask, **options)
    return tapped.trace, ids[:, :-1]


def grown(mask):
    """Return an attention mask of prompt and text."""
    return torch.cat([mask, torch.ones(BATCH, NEW - 1, dtype=mask.dtype)], 1)


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("side", MASKS)
def test_rows_of_padding_are_no_rows(kernel, side):
    """The mass of each key is float64's mean over the rows that are text, whatever the kernel."""
    model, mask = tiny.make("llama", kernel), MASKS[side]
    with torch.no_grad(), attn.tap(model) as tapped:
        model(IDS, attention_mask=mask)
    for layer, probs in enumerate(tiny.matrices("llama", IDS, mask)):
        expected = tiny.mass(probs, mask.bool().numpy())
        got = tapped.trace.mass(layer, "all.all").squeeze(["step", "branch"])
        np.testing.assert_allclose(got, expected, atol=1e-5)
    padding = [[token.padding for token in tapped.trace.tokens(sample=at)] for at in range(BATCH)]
    assert padding == (mask == 0).tolist()


def test_entropy_leaves_padding_out():
    """Padding counts in no entropy, and its rows are NaN in maps."""
    model, mask = tiny.make("llama"), MASKS["left"]
    with torch.no_grad(), attn.tap(model) as tapped:
        model(IDS, attention_mask=mask)
    probs = tiny.matrices("llama", IDS, mask)[0][0, :, 2:, 2:]
    logs = np.log(probs, out=np.zeros_like(probs), where=probs > 0)
    expected = -(probs * logs).sum(-1).mean(-1)
    got = tapped.trace.entropy(0, "all.all").isel(sample=0).squeeze()
    np.testing.assert_allclose(got, expected, atol=1e-5)
    rows = np.isnan(tapped.trace.maps(0, "all.all").isel(sample=0).squeeze()).all("key")
    assert rows.values.tolist() == [True, True, False, False, False]


def test_padding_that_is_told():
    """Where the call says nothing of padding, `padding=` does."""
    model, mask = tiny.make("llama"), MASKS["right"]
    with torch.no_grad(), attn.tap(model, padding=mask == 0) as tapped:
        model(IDS)
    probs = tiny.matrices("llama", IDS, torch.ones_like(mask))[0]
    got = tapped.trace.mass(0, "all.all").squeeze(["step", "branch"])
    np.testing.assert_allclose(got, tiny.mass(probs, mask.bool().numpy()), atol=1e-5)
    assert [token.padding for token in tapped.trace.tokens(sample=0)] == (mask[0] == 0).tolist()


@pytest.mark.parametrize(("name", "kernel"), [*CAUSAL, ("softcap", "eager")])
def test_generation_is_the_matrix_of_its_text(name, kernel):
    """The rows of all steps are float64's matrix of the whole text; the text is bit-identical."""
    mask = MASKS["left"]
    trace, ids = tapped_text(name, kernel, mask)
    assert torch.equal(ids, tiny.generate(tiny.make(name, kernel), mask)[:, :-1])
    assert [step.span for step in trace.steps] == SPANS
    assert [layer.num_heads for layer in trace.layers] == [tiny.HEADS] * 2
    for layer, probs in enumerate(tiny.matrices(name, ids, grown(mask))):
        for step, (start, stop) in enumerate(SPANS):
            got = trace.probs(layer, step, sample=1)
            np.testing.assert_allclose(got, probs[1][:, start:stop, :stop], atol=6e-4)


@pytest.mark.parametrize("options", CACHES, ids=["dynamic", "static", "none"])
@pytest.mark.parametrize("name", ["llama", "window"])
def test_caches(name, options):
    """Whatever the cache holds, a step's mass is that of the rows that it computed."""
    trace, ids = tapped_text(name, mask=MASKS["left"], keep="mass", **options)
    probs = tiny.matrices(name, ids, grown(MASKS["left"]))[1]
    valid = grown(MASKS["left"]).bool().numpy()
    for step in trace.steps:
        start, stop = step.span
        expected = tiny.mass(probs[:, :, start:stop, :stop], valid[:, start:stop])
        got = trace.mass(1, "all.all").sel(step=step.index).squeeze("branch")
        np.testing.assert_allclose(got[..., :stop], expected, atol=1e-5)
        assert np.isnan(got[..., stop:]).all()


@pytest.mark.parametrize("keep", ["mass", "means", "maps", "heads", "factors"])
def test_levels_of_a_growing_text(keep, tmp_path):
    """Every level is kept of a text that grows, saved, and read again the same."""
    trace, _ = tapped_text("llama", keep=keep)
    again = trace.save(tmp_path / "run")
    assert again.manifest.schema == 2
    for block in ("all.all", "prompt.all", "generated.all"):
        np.testing.assert_array_equal(again.mass(0, block), trace.mass(0, block))
    totals = again.total(0, "generated").squeeze("branch")
    assert np.isnan(totals[0]).all()
    np.testing.assert_allclose(totals[1:].sum("segment"), 1, atol=1e-5)
    if keep != "mass":
        np.testing.assert_array_equal(again.maps(0, "all.all"), trace.maps(0, "all.all"))


def test_means_are_the_matrix_of_the_text():
    """The mean over steps takes each row where it was computed: the whole text's matrix."""
    trace, ids = tapped_text("llama", keep="means")
    expected = tiny.matrices("llama", ids, None)[1].mean(1)
    got = trace.maps(1, "all.all").squeeze("branch").values
    lower = np.tril_indices(LENGTH)
    np.testing.assert_allclose(got[:, *lower], expected[:, *lower], atol=6e-4)


def test_grouped_queries_are_unfolded():
    """Steps of one query whose groups a library gives to the kernel as queries are not mixed."""
    trace, _ = tapped_text("llama", mask=MASKS["left"], keep="factors")
    for step in range(1, NEW):
        assert trace.probs(0, step).shape == (tiny.HEADS, 1, PROMPT + step)
    assert trace.layers[0].num_key_heads == KEY_HEADS


def test_thinned_steps():
    """Only every so many forwards are kept; the text is followed through the others."""
    trace, ids = tapped_text("llama", keep="heads", every=2)
    assert [(step.index, step.span) for step in trace.steps] == [(0, SPANS[0]), (2, SPANS[2])]
    assert len(trace.tokens()) == LENGTH
    probs = tiny.matrices("llama", ids, None)[0]
    np.testing.assert_allclose(trace.probs(0, 2), probs[0][:, 6:7, :7], atol=6e-4)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_prompt_in_pieces_is_a_prompt(size):
    """Pieces of a prompt, the last of one token, too, are none of what is written."""
    trace, ids = tapped_text("llama", prefill_chunk_size=size)
    parts = [(part.name, part.stop) for part in trace.manifest.segments["cond"]]
    assert parts == [("prompt", PROMPT), ("generated", LENGTH)]
    assert trace.manifest.warnings == ()
    probs = tiny.matrices("llama", ids, None)[1]
    for step in trace.steps:
        start, stop = step.span
        got = trace.probs(1, step.index, sample=1)
        np.testing.assert_allclose(got, probs[1][:, start:stop, :stop], atol=6e-4)


@pytest.mark.parametrize("sizes", [(3, 2, 1, 1), (3, 1, 1, 1, 1)])
def test_a_loop_that_reads_the_prompt_in_pieces(sizes):
    """Where nothing says how long it is, the prompt is the first pieces; a warning says so."""
    model, cache, start = tiny.make("llama"), DynamicCache(), 0
    text = torch.arange(3, 3 + sum(sizes))[None]
    with torch.no_grad(), attn.tap(model, keep="mass") as tapped:
        for size in sizes:
            model(text[:, start : start + size], past_key_values=cache)
            start += size
    (prompt, written) = tapped.trace.manifest.segments["cond"]
    assert (prompt.stop, written.stop) == (sum(size for size in sizes if size > 1), len(text[0]))
    told = [text for text in tapped.trace.manifest.warnings if "name segments=" in text]
    assert len(told) == (sizes[1] > 1)


@pytest.mark.parametrize("cache", [True, False])
def test_beams_are_followed_back(cache):
    """Beams that change places are put back: each sample is one text from begin to end."""
    model = tiny.make("llama")
    with attn.tap(model, keep="heads") as tapped:
        tiny.generate(model, num_beams=3, use_cache=cache)
    trace = tapped.trace
    assert trace.manifest.samples == 3 * BATCH
    assert any("as beams do" in warning for warning in trace.manifest.warnings)
    ids = torch.tensor([[token.id for token in trace.tokens(sample=at)] for at in range(3 * BATCH)])
    probs = tiny.matrices("llama", ids, None)[1]
    for step, (start, stop) in enumerate(each.span for each in trace.steps):
        for sample in range(3 * BATCH):
            got = trace.probs(1, step, sample=sample)
            np.testing.assert_allclose(got, probs[sample][:, start:stop, :stop], atol=6e-4)


def test_beams_that_end_alike():
    """Beams are told apart where every layer's cache holds a window, whose last tokens are one."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 12}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
    config = MistralConfig(
        **sizes, **heads, sliding_window=2, eos_token_id=None, attn_implementation="eager"
    )
    torch.manual_seed(1)
    model = MistralForCausalLM(config).eval()
    torch.manual_seed(3)
    ids = torch.randint(3, 12, (1, 5))
    options = {"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 8, "do_sample": False}
    with attn.tap(model, keep="heads") as tapped:
        model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **options)
    trace = tapped.trace
    for sample in range(4):
        text = torch.tensor([[token.id for token in trace.tokens(sample=sample)]])
        with torch.no_grad():
            probs = model(text, output_attentions=True).attentions[1][0].numpy()
        for step, (start, stop) in enumerate(each.span for each in trace.steps):
            got = trace.probs(1, step, sample=sample)
            np.testing.assert_allclose(got, probs[:, start:stop, :stop], atol=6e-4)


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_encoder_and_decoder(name):
    """The encoder runs before the first step and belongs to it; the decoder reads its text."""
    trace, _ = tapped_text(name, keep="mass", mask=MASKS["right"])
    layers = {
        (layer.kind, layer.queries[0].name, layer.keys[0].name): layer for layer in trace.layers
    }
    assert list(layers) == [
        ("self", "prompt", "prompt"),
        ("self", "generated", "generated"),
        ("cross", "generated", "prompt"),
    ]
    encoder, decoder, cross = (trace.mass(item.index, "all.all") for item in layers.values())
    assert (encoder.sizes["key"], cross.sizes["key"]) == (PROMPT, PROMPT)
    assert np.isnan(encoder[1:]).all()
    assert (encoder[0].isel(sample=0)[..., 3:] == 0).all()
    np.testing.assert_allclose(decoder.sum("key"), 1, atol=1e-5)
    np.testing.assert_allclose(cross.sum("key"), 1, atol=1e-5)


@pytest.mark.parametrize("options", CACHES)
def test_ended_texts_are_padding(options):
    """What a row reads after its end, while others go on, is no text."""
    model = tiny.make("llama")
    end = tiny.generate(model)[0, PROMPT + 2].item()  # which the second row does not write
    with attn.tap(model, keep="mass") as tapped:
        tiny.generate(model, eos_token_id=end, max_new_tokens=NEW + 1, **options)
    padding = [token.padding for token in tapped.trace.tokens(sample=0)]
    assert padding == [False] * (PROMPT + 3) + [True]
    mass = tapped.trace.mass(0, "all.all").isel(step=-1)
    assert np.isnan(mass.isel(sample=0)).all() == options.get("use_cache", True)  # else whole
    assert (mass.isel(sample=0, key=-1).fillna(0) == 0).all()
    np.testing.assert_allclose(mass.isel(sample=1).sum("key"), 1, atol=1e-5)


class Forced(LogitsProcessor):
    """Lets the first row write 41, the second one a token at a position."""

    def __init__(self, position, token):
        self.position, self.token = position, token

    def __call__(self, ids, scores):
        scores[0, 41] = torch.inf
        if ids.shape[1] == self.position:
            scores[1, self.token] = torch.inf
        return scores


@pytest.mark.parametrize(
    ("settings", "options", "token", "is_end"),
    [
        ({}, {}, 0, False),
        ({"eos_token_id": 3}, {}, 0, False),
        ({"eos_token_id": 3, "pad_token_id": None}, {"pad_token_id": 9}, 3, True),
        ({"eos_token_id": 3}, {"eos_token_id": 50}, 50, True),
        ({"eos_token_id": 3}, {"eos_token_id": 50}, 3, False),
        ({"eos_token_id": 3}, {"pad_token_id": 9}, 3, True),
    ],
)
def test_generate_says_which_rows_have_ended(settings, options, token, is_end):
    """Filler is what `generate` fills up, whatever its ids are and the model's settings say."""
    model = tiny.make("llama")
    model.generation_config.update(**settings)
    forced = [Forced(PROMPT + 1, token)]
    with attn.tap(model, keep="mass") as tapped:
        tiny.generate(model, MASKS["left"], max_new_tokens=5, logits_processor=forced, **options)
    padding = [token.padding for token in tapped.trace.tokens(sample=1)]
    assert padding == [False] * (PROMPT + 2) + [is_end] * 2
    mass = tapped.trace.mass(0, "all.all").isel(sample=1).squeeze("branch")
    assert np.isnan(mass).all(["head", "key"]).values.tolist() == [False] * 3 + [is_end] * 2


def test_a_prompt_of_vectors():
    """A text that is written behind vectors is named and filled up as behind tokens."""
    model = tiny.make("llama")
    vectors = model.get_input_embeddings()(IDS).detach()
    mask, forced = torch.ones_like(IDS), [Forced(1, 3)]
    with attn.tap(model, keep="mass") as tapped:
        ids = model.generate(
            inputs_embeds=vectors,
            attention_mask=mask,
            logits_processor=forced,
            eos_token_id=3,
            do_sample=False,
            max_new_tokens=5,
        )
    tokens = tapped.trace.tokens(sample=1)
    assert [token.id for token in tokens] == [-1] * PROMPT + ids[1, :-1].tolist()
    assert [token.padding for token in tokens] == [False] * (PROMPT + 2) + [True] * 2


@pytest.mark.parametrize(("end", "filled"), [(None, 0), (3, 2)])
def test_padding_of_a_loop_of_ones_own(end, filled):
    """Where no `generate` runs, a pad fills up only what a known end has ended."""
    model, cache = tiny.make("llama"), DynamicCache()
    model.generation_config.eos_token_id = end
    with torch.no_grad(), attn.tap(model, keep="mass") as tapped:
        for step in (IDS, *torch.tensor([[[7], [3]], [[9], [0]], [[8], [0]]])):
            model(step, past_key_values=cache)
    padding = [token.padding for token in tapped.trace.tokens(sample=1)]
    assert padding == [False] * (len(padding) - filled) + [True] * filled


def test_no_kept_step_of_the_text():
    """What reads the rows of a text is told where thinned steps have none of them."""
    trace, _ = tapped_text("llama", keep="mass", every=100)
    assert "no step that was kept reads anything of 'generated'" in str(
        find_lack(flow.NEEDS, trace.manifest)
    )
    trace, _ = tapped_text("llama", keep="mass", every=2)
    assert find_lack(flow.NEEDS, trace.manifest) is None


def test_beams_behind_an_encoder():
    """An encoder that runs once for several beams is told from another batch; its decoder goes."""
    model = tiny.make("t5")
    refused = pytest.raises(CaptureError, match=r"in 6 rows, .* for the 3 beams .*'decoder\.\*'")
    with refused, attn.tap(model, keep="mass"):
        tiny.generate(model, num_beams=3)
    with attn.tap(model, "decoder.*", keep="mass") as tapped:
        tiny.generate(model, num_beams=3)
    assert tapped.trace.manifest.samples == 3 * BATCH


@pytest.mark.parametrize("rows", [1, BATCH])
@pytest.mark.parametrize("end", [IDS[0, 2].item(), 0])
def test_texts_that_go_on_after_an_end(rows, end):
    """The next turn of a chat is text, although a token that may end one stands before it."""
    model, turns = tiny.make("llama"), IDS[:rows].clone().split([2, 1, 1, 1], 1)
    model.generation_config.eos_token_id = end
    turns[1][0] = end
    cache = DynamicCache(config=model.config)
    with torch.no_grad(), attn.tap(model, keep="mass") as tapped:
        for turn in turns:
            model(turn, past_key_values=cache)
    assert not any(token.padding for token in tapped.trace.tokens(sample=0))
    mass = tapped.trace.mass(1, "all.all").isel(step=-1, sample=0)
    np.testing.assert_allclose(mass.sum("key"), 1, atol=1e-5)


def test_cache_that_was_filled_before():
    """Positions that no tapped forward read are refused: nothing says what they are."""
    model, cache = tiny.make("llama"), DynamicCache()
    refused = pytest.raises(CaptureError, match=r"positions 2 to 5, .* what no tapped forward read")
    with torch.no_grad(), refused:
        model(IDS[:, :2], past_key_values=cache)
        with attn.tap(model):
            model(IDS[:, 2:], past_key_values=cache)


@torch.no_grad()
def test_padding_of_other_lengths():
    """A padding that is as long as no text is refused; the trace is kept."""
    model, hidden = tiny.make("llama"), torch.zeros(BATCH, 3, dtype=torch.bool)
    refused = pytest.raises(
        CaptureError, match=r"^padding= names 3 positions, but the model reads 5;"
    )
    with refused, attn.tap(model, padding=hidden) as tapped:
        model(IDS)
    assert len(tapped.trace.steps) == 1


@torch.no_grad()
def test_batches_of_other_rows():
    """A forward of other rows is refused in words."""
    model = tiny.make("llama")
    refused = pytest.raises(CaptureError, match=r"^a forward reads 1 rows, those before it 2; use")
    with refused, attn.tap(model):
        model(IDS)
        model(IDS[:1])


def test_padding_of_other_rows():
    """A padding that does not name each row of the batch is not passed over."""
    refused = pytest.raises(CaptureError, match=r"^padding= names 3 rows, but the model reads 2;")
    model = tiny.make("llama")
    with torch.no_grad(), refused, attn.tap(model, padding=[[True] + [False] * 4] * 3):
        model(IDS)


def test_errors_do_not_stop_a_generation():
    """What the tap cannot record is raised after the block; the text is whole."""
    model = tiny.make("llama")
    plain = tiny.generate(model)
    refused = pytest.raises(CaptureError, match=r"^segments= names 6 positions")
    with refused, attn.tap(model, segments={"prompt": PROMPT, "generated": 1}) as tapped:
        ids = tiny.generate(model)
    assert torch.equal(ids, plain)
    assert tapped.trace.manifest.status == "partial"


def test_another_text_is_refused():
    """A second text does not continue the first one's trace."""
    model = tiny.make("llama")
    refused = pytest.raises(CaptureError, match=r"reads another text; use one tap for each$")
    with refused, attn.tap(model):
        tiny.generate(model)
        tiny.generate(model)


@pytest.mark.parametrize("masked", [True, False])
def test_another_text_of_the_same_length(masked):
    """Tokens that change are said to be another text, but not where a mask is filled in."""
    model, first, second = tiny.make("llama"), IDS.clone(), IDS.flip(1)
    if masked:
        first[:, 1:4], second = 0, IDS
    with torch.no_grad(), attn.tap(model, keep="mass") as tapped:
        model(first)
        model(second)
    warned = [text for text in tapped.trace.manifest.warnings if "different tokens" in text]
    assert bool(warned) is not masked


def test_memory_grows_with_what_is_kept():
    """At the level `mass` a step costs a number per head and key, whatever else is computed."""
    trace, _ = tapped_text("llama", keep="mass")
    numbers = {shard.step.span[1]: shard.bytes for shard in trace.manifest.shards}
    for stop, size in numbers.items():
        assert size == 2 * BATCH * tiny.HEADS * 4 * 2 * (stop + 1)  # mass and entropy, twice named
