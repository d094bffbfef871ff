"""The tokens of a trace are what the text encoders were really given, or the trace says so."""

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import (
    DiffusionPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)

import attn
from attn import demo
from attn.backends import find, load
from attn.backends.diffusers.texts.encoders import CHANGED, Encoder, labels_checked, unknown_tokens
from attn.backends.loading.quiet import quiet
from attn.errors import AttnError, CaptureError
from attn.schema import Request, find_words
from tests.helpers.models.opening import opening

PROMPTS = ["one <toy> on a blue chair", "two green dogs and a <toy>, red"]
NEGATIVE = "bad <toy> hat"
VECTORS = ["<toy>", "<toy>_1", "<toy>_2"]
SMALL = {"steps": 1, "size": (64, 48), "guidance": 4.0, "keep": "mass", "negative": NEGATIVE}
CLASSES = {
    "sd15": StableDiffusionPipeline,
    "sdxl": StableDiffusionXLPipeline,
    "sd35": StableDiffusion3Pipeline,
}


@pytest.fixture(scope="module")
def inverted(demo_cache):
    """Return a demo model, loaded once, whose CLIPs read `<toy>` as three vectors."""
    made = {}

    def invert(pipe, ending):
        encoder = getattr(pipe, f"text_encoder{ending}")
        pipe.load_textual_inversion(
            {"<toy>": torch.randn(3, encoder.config.hidden_size)},
            token="<toy>",
            text_encoder=encoder,
            tokenizer=getattr(pipe, f"tokenizer{ending}"),
        )

    def pipeline(family):
        if family not in made:
            with quiet():
                made[family] = DiffusionPipeline.from_pretrained(demo.checkpoint(family))
            made[family].set_progress_bar_config(disable=True)
            for ending in {"sd15": [""], "sdxl": ["", "_2"], "sd35": []}[family]:
                invert(made[family], ending)
        return made[family]

    return pipeline


@pytest.fixture
def handed(inverted):
    """Make a pipeline of a class of its own, derived from that of diffusers."""

    def pipeline(family, **members):
        extra = {"requires_safety_checker": False} if family == "sd15" else {}
        own = type("Mine", (CLASSES[family],), members)
        made = own(**inverted(family).components, **extra)
        made.set_progress_bar_config(disable=True)
        return made

    return pipeline


@contextmanager
def watching(modules, note):
    """Call `note` before every forward of some modules."""
    handles = [module.register_forward_pre_hook(note, with_kwargs=True) for module in modules]
    yield
    for handle in handles:
        handle.remove()


def names_of_words(tokenizer, tokens, text):
    """Return for each word of a text the names of its tokens, and the names of those of none."""
    names = {word.text: [] for word in find_words(text)} | {None: []}
    for token in tokens:
        if not (token.padding or token.special):
            word = None if token.word is None else find_words(text)[token.word].text
            names[word].append(tokenizer.convert_ids_to_tokens(token.id).removesuffix("</w>"))
    return names


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_inversion_in_a_batch(inverted, family, tmp_path):
    """All vectors of an inversion belong to its name, in each prompt and the negative one."""
    pipe, batch, heard = inverted(family), {"images": 2, "batch": 2, "branch": "both"}, []
    parts = [getattr(pipe, name, None) for name in ("text_encoder", "text_encoder_2")]
    with watching(filter(None, parts), lambda module, args, _: heard.append(args[0].tolist())):
        attn.capture(family, PROMPTS, model=pipe, out=tmp_path / "o", **batch, **SMALL)
    count = len(heard) // 2  # encoders; each ran for the prompts, then for the negative ones
    for index, prompt in enumerate(PROMPTS):
        trace = attn.open(tmp_path / "o" / f"{index:04d}")
        assert trace.manifest.warnings == ()
        for calls, branch, text in (
            (heard[:count], "cond", prompt),
            (heard[count:], "uncond", NEGATIVE),
        ):
            tokens = trace.tokens(branch)
            ids = [token.id for token in tokens]
            assert calls[0][index] == ids
            length = sum(not token.padding for token in tokens)  # CLIP-G is padded otherwise
            assert [call[index][:length] for call in calls] == [ids[:length]] * count
            names = names_of_words(pipe.tokenizer, tokens, text)
            assert names.pop("toy") == VECTORS
            assert names.pop(None) == [","] * text.count(",")
            assert ["".join(pieces) for pieces in names.values()] == [*names]


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_mass_behind_an_inversion(inverted, family, tmp_path):
    """What `chair` receives is the softmax, in float64, at the position of its own id."""
    pipe = inverted(family)
    path = "mid_block.attentions.0.transformer_blocks.0.attn2"
    probs = []

    @torch.no_grad()
    def note(module, args, keywords):
        query, key = (
            states.double().unflatten(-1, (module.heads, -1)).transpose(1, 2)
            for states in (module.to_q(args[0]), module.to_k(keywords["encoder_hidden_states"]))
        )
        probs.append((query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)[-1].mean((0, 1)))

    with watching([pipe.unet.get_submodule(path)], note):
        captured = attn.capture(
            family, PROMPTS[0], model=pipe, out=tmp_path / "o", layers=path, **SMALL
        )
    names = pipe.tokenizer.tokenize(PROMPTS[0].replace("<toy>", " ".join(VECTORS)))
    mass = captured.trace.mass(layer=captured.trace.layers[0].index).isel(step=0, sample=0)
    result = mass.isel(branch=0, key=mass.word.values == 5).sum("key").mean("head")
    assert names[-1] == "chair</w>"
    np.testing.assert_allclose(float(result), float(probs[0][len(names)]), rtol=1e-4)


def test_inversion_that_is_cut(inverted):
    """An inversion of which one vector alone fits counts as not read to its end."""
    family = load(find("sd15"))
    session = family.open(inverted("sd15"), family.Options())
    prompt = "cat " * 74 + "<toy> and a dog"
    sequence = session.sequence(session.complete(Request(prompt)), "cond")
    assert [token.text for token in sequence.tokens[-3:]] == ["cat", "<toy>", "<|endoftext|>"]
    assert sequence.truncated == {"clip": "<toy> and a dog"}


def original(pipe):
    """Return the pipeline as the class of diffusers."""
    return super(type(pipe), pipe)


def suffixed(pipe, prompt, *rest, **options):
    """Encode a longer prompt."""
    return original(pipe).encode_prompt([f"{text} red" for text in prompt], *rest, **options)


def weighted(pipe, prompt, *rest, **options):
    """Encode a prompt without what stands for weights in it."""
    plain = [text.replace("<toy>", "(toy)").replace("(", "").replace(")", "") for text in prompt]
    return original(pipe).encode_prompt(plain, *rest, **options)


def exchanged(pipe, prompt, *rest, **options):
    """Encode the prompts of a batch in another order."""
    return original(pipe).encode_prompt(prompt[::-1], *rest, **options)


def seconded(pipe, prompt, prompt_2=None, *rest, **options):
    """Let the second encoder read something else."""
    other = ["a hat"] * len(prompt)
    return original(pipe).encode_prompt(prompt, other, *rest, **options)


def shortened(pipe, prompt, *rest, **options):
    """Let T5 read the beginning of the prompt alone."""
    return original(pipe)._get_t5_prompt_embeds([text[:5] for text in prompt], *rest, **options)


@pytest.mark.parametrize(
    ("family", "members", "said"),
    [
        ("sdxl", {"encode_prompt": suffixed}, r"text_encoder reads token \d+ at position 9"),
        ("sd15", {"encode_prompt": weighted}, r"text_encoder reads token \d+ at position 2"),
        ("sd15", {"encode_prompt": exchanged}, r"text_encoder reads token \d+ at position 1"),
        ("sdxl", {"encode_prompt": seconded}, r"text_encoder_2 reads token \d+ at position 1"),
        ("sd35", {"_get_t5_prompt_embeds": shortened}, r"text_encoder_3 reads token \d+ at pos"),
    ],
    ids=["suffix", "weights", "order", "second prompt", "T5"],
)
def test_changed_prompts(handed, family, members, said, tmp_path):
    """A pipeline that gives an encoder other text is refused by the encoder's name."""
    family_of = load(find(family))
    session = family_of.open(handed(family, **members), family_of.Options())
    requested = Request(PROMPTS[0], negative=NEGATIVE, steps=1, width=64, height=48)
    requests = [session.complete(replace(requested, prompt=text)) for text in PROMPTS]
    with pytest.raises(CaptureError, match=rf"^{said}") as error:
        session.generate(requests, None)
    assert str(error.value).endswith(CHANGED)


def test_conversion_that_cannot_be_followed(handed, tmp_path):
    """A pipeline that makes a new text of a prompt is refused before anything runs."""
    pipe = handed("sd15", maybe_convert_prompt=lambda self, prompt, tokenizer: f"{prompt}, red")
    with pytest.raises(AttnError) as error:
        attn.capture("sd15", "a cat", model=pipe, out=tmp_path / "o", **SMALL)
    assert str(error.value) == (
        "maybe_convert_prompt of Mine turns the prompt 'a cat' into 'a cat, red', and not by "
        "str.replace alone, so it is unclear which words its tokens belong to; hand over a "
        "pipeline without this method, and the prompt as it is to be read"
    )


@pytest.mark.parametrize("rows", [("cond", "uncond"), ("uncond",)], ids=", ".join)
def test_embeddings_from_elsewhere(handed, rows, tmp_path):
    """Where a pipeline has embeddings already, the tokens of those rows are unknown, as is said."""
    encoded = handed("sd15").encode_prompt(["a hat"], "cpu", 1, True, negative_prompt=["a dog"])
    states = dict(zip(("cond", "uncond"), encoded, strict=True))
    names = {"cond": "prompt_embeds", "uncond": "negative_prompt_embeds"}
    texts = {"cond": "prompt", "uncond": "negative_prompt"}

    def call(pipe, **options):
        kept = {
            name: option for name, option in options.items() if name not in map(texts.get, rows)
        }
        return original(pipe).__call__(**kept, **{names[row]: states[row] for row in rows})

    pipe = handed("sd15", __call__=call)
    captured = attn.capture(
        "sd15", "a hat " * 99, model=pipe, out=tmp_path / "o", branch="both", **SMALL
    )
    trace = captured.trace
    for row in rows:
        assert {(token.id, token.text) for token in trace.tokens(row)} == {(-1, "<unknown>")}
        assert not any(token.is_content or token.stop for token in trace.tokens(row))
        assert unknown_tokens(row, "clip") in trace.manifest.warnings
    assert [*trace.manifest.truncated] == [row for row in ("cond",) if row not in rows]
    assert ("hat" in [token.text for token in trace.tokens("cond")]) == ("cond" not in rows)


def test_unknown_tokens_are_resumed(handed, tmp_path):
    """A trace whose tokens are unknown is complete: going on with it makes nothing again."""
    states, _ = handed("sd15").encode_prompt(["a hat"], "cpu", 1, False)

    def call(pipe, prompt, negative_prompt, **options):
        return original(pipe).__call__(prompt_embeds=states, **options)

    def made(**options):
        pipe, requested = handed("sd15", __call__=call), SMALL | {"guidance": 1.0, "negative": None}
        attn.capture("sd15", "a hat " * 99, model=pipe, out=tmp_path / "o", **requested, **options)
        return (tmp_path / "o" / "attention" / "step-0000.safetensors").stat().st_ino

    assert made() == made(resume=True)


NO_NETWORK = "expected a network that reads the prompt's tokens, got "


@pytest.mark.parametrize(
    ("family", "parts", "message"),
    [
        ("sd15", {"text_encoder": None}, f"text_encoder: {NO_NETWORK}none"),
        ("sd15", {"text_encoder": Encoder}, f"text_encoder: {NO_NETWORK}a type"),
        ("sd15", {"tokenizer": None}, "tokenizer: expected what makes tokens of the prompt, got"),
        ("sdxl", {"text_encoder_2": None, "tokenizer_2": None}, f"text_encoder_2: {NO_NETWORK}"),
        ("sd35", {"text_encoder": None, "tokenizer": None}, f"text_encoder: {NO_NETWORK}none"),
    ],
)
def test_missing_readers(handed, family, parts, message, tmp_path):
    """A pipeline that was loaded without what reads prompts is refused, with the ways on."""
    pipe = handed(family)
    for name, part in parts.items():
        setattr(pipe, name, part)
    with pytest.raises(AttnError) as error:
        attn.capture(family, "a cat", model=pipe, out=tmp_path / "o", **SMALL)
    assert str(error.value).startswith(message)
    assert str(error.value).endswith("with embeddings, and record its attention with attn.tap")


def test_a_pipeline_without_t5(handed):
    """T5 may be left out of a pipeline; the warning names a way that there is for one."""
    pipe = handed("sd35")
    pipe.text_encoder_3 = pipe.tokenizer_3 = None
    (warning,) = opening("sd35", pipe).warnings
    assert warning.endswith("its 256 positions are zero; load the pipeline with it")


A, B, N, X = (1, 5, 2), (1, 6, 2), (1, 2, 2), (1, 9, 2)
BOTH = {("cond", "clip"), ("uncond", "clip")}


def heard(before, after=()):
    """Run an encoder before and after a denoiser's forward; return what is unknown."""
    encoder, denoiser = torch.nn.Identity(), torch.nn.Identity()
    names = SimpleNamespace(convert_ids_to_tokens=lambda number: f"<{number}>")
    ids = {"cond": [A, B], "uncond": [N, N]}
    watched = Encoder("text_encoder", encoder, "clip", names, ids)
    with labels_checked([watched], denoiser) as unknown:
        for texts in before:
            encoder(texts if isinstance(texts, torch.Tensor) else torch.tensor(texts))
        denoiser(torch.zeros(1))
        for texts in after:
            encoder(torch.tensor(texts))
    assert not (encoder._forward_pre_hooks or denoiser._forward_pre_hooks)
    return unknown


@pytest.mark.parametrize(
    ("calls", "unknown"),
    [
        ([[A, B], [N, N]], set()),
        ([[A, B, N, N]], set()),
        ([[A], [B], [N]], set()),
        ([[A, A, B, B], [N]], set()),
        ([[A, B]], {("uncond", "clip")}),
        ([[N, N]], {("cond", "clip")}),
        ([], BOTH),
    ],
    ids=["by branch", "at once", "one by one", "by prompt", "no uncond", "no cond", "none"],
)
def test_what_encoders_may_read(calls, unknown):
    """Texts may come in any batches; a branch that none of them is of is unknown."""
    assert heard(calls) == unknown
    assert heard(calls, calls) == unknown


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([[B, A], [N]], [], "token 6 at position 1, where the prompt has '<5>' (token 5)"),
        ([[A, X], [N]], [], "token 9 at position 1, where the prompt has '<6>' (token 6)"),
        ([[A, B], [N, X]], [], "4 distinct texts, where the trace has 3"),
        ([[A]], [], "1 distinct texts, where the trace has 3"),
        ([[A, B], [N]], [[X]], "4 distinct texts, where the trace has 3"),
        ([[(*A, 2), (*B, 2)]], [], "4 tokens, where the trace has 3"),
        ([torch.zeros(2, 3, 7)], [], "embeddings in place of token ids"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_encoders_may_not_read(before, after, said):
    """Other texts are refused with where they differ, also those read while the picture is made."""
    with pytest.raises(CaptureError) as error:
        heard(before, after)
    assert str(error.value) == f"text_encoder reads {said}; {CHANGED}"
