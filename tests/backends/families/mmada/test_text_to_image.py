"""MMaDA's pictures: how their tokens are laid out, drawn and captured."""

import json
import math
import shutil

import numpy as np
import pytest
import torch

import attn
from attn.backends import find, load
from attn.backends.testing.observe import watched
from attn.backends.types import Placement
from attn.errors import ModelError, RequestError, UsageError
from attn.options import parse_options
from attn.schema import Request
from tests.helpers.toy_sessions import checks_of, refuse_misread

CODES = 23
TASKS = {
    "t2i_token": "<|start_header_id|>",
    "soi_token": "<|end_header_id|>",
    "eoi_token": "<|eot_id|>",
}
OPTIONS = {"t2i": "yes", "image_rows": "3", "image_columns": "5", **TASKS}
PROMPTS = ("a red cat", "two dogs sitting under a table")


@pytest.fixture(scope="module")
def folder(demo_cache, tmp_path_factory):
    """A tiny language model whose spare ids are a codebook."""
    from attn import demo

    index = tmp_path_factory.mktemp("t2i") / "model"
    shutil.copytree(demo.checkpoint("tiny:mmada"), index)
    config = json.loads((index / "config.json").read_text())
    (index / "config.json").write_text(json.dumps(config | {"codebook_size": CODES}))
    return index


def opened(folder, **changes):
    """Open the model to write pictures."""
    family = load(find("mmada"))
    options = parse_options(family.Options, OPTIONS | changes, "backend mmada")
    return family.open(folder, options, Placement("cpu", "float32"))


@pytest.fixture(scope="module")
def session(folder):
    """The model, writing 3 x 5 image tokens."""
    return opened(folder)


def drawn(session, prompt, seed, steps, scale):
    """Write a picture by the published recipe, padded as published; returns the codes.

    All rows are padded to one length on the left, and what is padding neither reads nor is read.
    """
    tokenizer, codes, mask = session.vocabulary.tokenizer, session.codes, session.vocabulary.mask
    text = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    task, opening, closing = (tokenizer.convert_tokens_to_ids(name) for name in TASKS.values())
    rows, visible = [], []
    for words in (text, []):
        read = [task, tokenizer.bos_token_id, *words, tokenizer.eos_token_id]
        padding = 17 - len(read)
        rows.append([tokenizer.eos_token_id] * padding + read + [opening] + [mask] * 15 + [closing])
        visible.append([0] * padding + [1] * (len(read) + 17))
    ids, shown = torch.tensor(rows), torch.tensor(visible)
    hiding = (shown[:, :, None] & shown[:, None, :]).bool()[:, None]
    generator, temperature = torch.Generator().manual_seed(seed), 1.0
    for step in range(steps):
        with torch.no_grad():
            logits = session.model(input_ids=ids, attention_mask=hiding).logits
        cond, uncond = logits[:, 18:33, codes.first : codes.first + CODES]
        probs = ((1 + scale) * cond - scale * uncond).softmax(-1)
        picked = torch.multinomial(probs, 1, generator=generator)[:, 0]
        unknown = ids[0, 18:33] == mask
        picked = torch.where(unknown, picked, ids[0, 18:33] - codes.first)
        ratio = (step + 1) / steps
        sure = probs[torch.arange(15), picked].masked_fill(~unknown, torch.finfo(torch.float).max)
        count = max(1, min(int(unknown.sum()) - 1, math.floor(15 * math.cos(ratio * math.pi / 2))))
        temperature *= 1 - ratio
        uniform = torch.zeros(15).uniform_(0, 1, generator=generator).clamp(min=1e-20)
        order = sure.log() - temperature * (-uniform.log()).clamp(min=1e-20).log()
        again = order < order.sort().values[count]
        ids[:, 18:33] = torch.where(again, mask, picked + codes.first)
    return picked.tolist()


@pytest.mark.parametrize("prompt", PROMPTS)
def test_tokens(session, prompt):
    """The image tokens are those of the published sampler for the same generator."""
    request = session.complete(Request(prompt, seed=11, steps=7, guidance=3.5))
    [output] = session.generate([request], None)
    [history] = output.histories
    codes = [number - history["first_code"] for number in history["steps"][-1]["tokens"]]
    assert codes == drawn(session, prompt, 11, 7, 2.5)
    assert (history["grid"], history["codebook_size"]) == ([3, 5], CODES)
    assert len({*codes}) > 2
    assert all(0 < sure <= 1 for step in history["steps"] for sure in step["confidence"])


def test_every_token_is_decided_once(session):
    """Each step decides some tokens for good, and the last one the rest."""
    request = session.complete(Request(PROMPTS[0], seed=2, steps=5, guidance=2.0))
    [output] = session.generate([request], None)
    steps = output.histories[0]["steps"]
    indices = [index for step in steps for index in step["finalised"]]
    start = output.histories[0]["prompt_length"]
    assert sorted(indices) == list(range(start, start + 15))
    left = [15 - sum(len(step["finalised"]) for step in steps[: n + 1]) for n in range(5)]
    assert left == [math.floor(15 * math.cos((n + 1) / 5 * math.pi / 2)) for n in range(5)]


def test_layout(session):
    """Text, picture and end are segments; the picture has its grid, and `uncond` its padding."""
    request = session.complete(Request(PROMPTS[0], guidance=2.0))
    cond, uncond = (session.sequence(request, branch) for branch in ("cond", "uncond"))
    assert [item.name for item in cond.segments] == ["prompt", "image", "end"]
    assert cond.segments == uncond.segments
    assert cond.segment("image").grid == (3, 5)
    assert [item.text for item in cond.tokens if item.is_content] == PROMPTS[0].split()
    hidden = [item.position for item in uncond.tokens if item.padding]
    assert hidden == list(range(len(cond.tokens) - 5))
    assert {layer.kind for layer in session.layers(request)} == {"joint"}
    assert request.steps == 18


@pytest.mark.parametrize(
    ("guidance", "check"),
    [(guidance, check) for guidance in (3.0, 1.0) for check in checks_of(guidance=guidance)],
)
def test_conformance(session, guidance, check):
    """The shipped kit passes: same tokens with capture, exact attention, padding never read."""
    check(session, Request(PROMPTS[1], steps=3, guidance=guidance))


def test_batch(session):
    """A prompt's picture does not depend on what is written beside it."""
    requests = [session.complete(Request(item, steps=3, guidance=2.0)) for item in PROMPTS]
    together = session.generate(requests, None)
    alone = [session.generate([request], None)[0] for request in requests]
    for item, other in zip(together, alone, strict=True):
        assert item.histories[0]["steps"][-1]["tokens"] == other.histories[0]["steps"][-1]["tokens"]


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_model_reads_the_labelled_tokens(session, guidance):
    """A batch whose rows are others than the trace says is refused where they differ."""
    requested = [Request(item, steps=3, guidance=guidance) for item in PROMPTS[::-1]]
    refuse_misread(session, [session.complete(item) for item in requested])


def test_calls(session):
    """Every step is announced with the part of the picture that is still masked."""
    request = session.complete(Request(PROMPTS[0], steps=3, guidance=2.0))
    calls = watched(session, [request], lambda *_: None)
    assert [call.noise for call in calls] == [1, pytest.approx(12 / 15), pytest.approx(7 / 15)]


def test_capture(folder, tmp_path):
    """A capture keeps what image tokens read of every word, and their history."""
    settings = OPTIONS | {"cfg_scale": "1.5"}
    run = tmp_path / "run"
    captured = attn.capture("mmada", PROMPTS[0], model=folder, steps=4, out=run, settings=settings)
    trace = captured.trace
    assert trace.manifest.kept.blocks == ("image.text",)
    assert trace.manifest.outputs == ("outputs/history.json",)
    maps = trace.maps(1, "image.text")
    words = [str(name) for name in maps["token"].values]
    assert {"a", "red", "cat"} <= {*words}
    assert (maps.sizes["row"], maps.sizes["column"]) == (3, 5)
    masked = trace.written("masked").sel(branch="cond").values[:, 0]
    assert masked.sum(1).tolist() == [15, 13, 10, 5]
    written = trace.written("tokens").sel(branch="cond").values[-1, 0]
    history = json.loads((run / "outputs/history.json").read_text())
    start = history["prompt_length"]
    assert written[start : start + 15].tolist() == history["steps"][-1]["tokens"]
    done = attn.analyze(run, pictures=False)
    names = {path.split("/")[0] for path in map(str, done.traces[0].files)}
    assert "prompt" in names or "words" in names
    assert not names & {"unmasking", "flow", "matrices"}


def test_rows_sum_to_one(session):
    """The masses on prompt, picture and end are the whole row."""
    from attn.backends.testing.observe import recorded

    request = session.complete(Request(PROMPTS[0], steps=2, guidance=2.0))
    for (_, step), tensors in recorded(session, [request], "maps").tensors.items():
        if step is None:  # the mean has the maps alone
            continue
        totals = [value for name, value in tensors.items() if "/total." in name]
        assert totals
        for value in totals:
            assert np.abs(value.sum(-1) - 1).max() < 1e-5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"t2i_token": "<|t2i|>"},
            r"t2i_token: the tokenizer has no token <\|t2i\|>; give the name",
        ),
        ({"soi_token": "99999"}, "soi_token: the tokenizer has no token 99999"),
    ],
)
def test_unknown_tokens(folder, changes, message):
    """A task token that the tokenizer does not have is asked for, never guessed."""
    with pytest.raises(ModelError, match=message):
        opened(folder, **changes)


def test_ids_of_tokens(folder, session):
    """A token can be named by its id, for tokenizers that have no name for it."""
    number = session.codes.task
    assert opened(folder, t2i_token=str(number)).codes == session.codes


def test_models_without_pictures(folder, tmp_path):
    """A model that has no codebook, or too large a one, is refused in numbers."""
    copy = shutil.copytree(folder, tmp_path / "model")
    config = json.loads((copy / "config.json").read_text())
    for size, message in ((None, "has no codebook_size"), (999, "the codebook 999, more than the")):
        (copy / "config.json").write_text(json.dumps(config | {"codebook_size": size}))
        with pytest.raises(ModelError, match=message):
            opened(copy)


def test_bad_sizes(session, folder):
    """Pictures of no size are refused, and those that do not fit into the model's positions."""
    with pytest.raises(UsageError, match="image_rows and image_columns must be at least 1"):
        parse_options(load(find("mmada")).Options, {"image_rows": "0"}, "backend mmada")
    with pytest.raises(RequestError, match="lower image_rows or image_columns"):
        opened(folder, image_rows="31", image_columns="11").complete(Request("a cat"))
    with pytest.raises(RequestError, match="steps must be at least 1; got 0"):
        session.complete(Request("a cat", steps=0))


@pytest.mark.parametrize("kind", ["text", "picture"])
def test_logits_that_are_no_numbers(folder, monkeypatch, kind):
    """Broken weights are named where no token can be drawn, of texts and of pictures."""
    session = opened(folder, **({} if kind == "picture" else {"t2i": "no"}))
    head = session.model.lm_head.weight
    monkeypatch.setattr(head, "data", torch.full_like(head, torch.nan))
    request = session.complete(Request("a red cat"))
    expected = "^the output is not numbers: 100 % of the logits of the next tokens are NaN "
    with pytest.raises(ModelError, match=expected):
        session.generate([request], None)
