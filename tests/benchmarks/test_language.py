"""The recipe of the language model: what it learns, what is held out, and that weights arrive."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from attn.backends import find, load
from attn.backends.types import Placement
from attn.demo import language, questions
from attn.demo.questions import CAPITALS, COLOURS, KINDS
from benchmarks.demo import score_text
from benchmarks.training import language as recipe

READER = language.tokenizer()


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    """A model as training begins with it."""
    return recipe.build()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_held_out_is_learned(kind: questions.QuestionKind) -> None:
    """A held-out question is never drawn, and no question is in both halves."""
    rng = np.random.default_rng(3)
    drawn = {recipe.draw(rng).text for _ in range(500)}
    held = {item.text for item in questions.held_out(kind)}
    assert held
    assert not drawn & held
    assert not held & {item.text for item in questions.learned(kind)}
    assert len(held) + len(questions.learned(kind)) == len(questions.questions(kind))


def test_every_fact_is_learned() -> None:
    """What is asked in held-out words can be known: each fact is learned in other words."""
    known = {item.clue for kind in ("capital", "colour") for item in questions.learned(kind)}
    assert known == {*CAPITALS, *COLOURS}
    sums = {tuple(item.text.strip("?.").split()[-3::2]) for item in questions.learned("sum")}
    assert len(sums) == (questions.LARGEST + 1) ** 2


def test_texts_are_unique() -> None:
    """No question is asked twice with two answers."""
    texts = sorted(item.text for kind in KINDS for item in questions.questions(kind))
    assert all(item != other for item, other in pairwise(texts))


def test_answers_are_words() -> None:
    """Every answer and every clue is one token, in the question and alone."""
    for kind in KINDS:
        for question in questions.questions(kind)[:200]:
            assert len(READER(question.answer)["input_ids"]) == 1
            assert len(READER(f" {question.clue}")["input_ids"]) == 1
            assert question.clue in question.text


def test_example_prompt_is_a_question() -> None:
    """What the README asks is one of the questions, and its answer is Paris."""
    from attn import demo

    known = {question.text: question.answer for question in questions.questions("capital")}
    assert known[demo.EXAMPLE_QUESTION] == "Paris"


def test_size(model: torch.nn.Module) -> None:
    """The model stays small: at most two million parameters."""
    assert sum(parameter.numel() for parameter in model.parameters()) <= 2e6


def test_layout() -> None:
    """Prompts are padded on the left; the answer, its end and the rest of the window follow."""
    requested = [questions.questions("capital")[0], questions.questions("scene")[0]]
    batch = recipe.encode(READER, requested, 7)
    end = READER.eos_token_id
    for row, item in enumerate(requested):
        shown = batch["shown"][row]
        window = batch["ids"][row, -7:].tolist()
        assert READER.decode(window, skip_special_tokens=True) == item.answer
        assert window[1:] == [end] * 6
        assert batch["weight"][row, -7:].tolist() == pytest.approx(
            [1, 1] + [recipe.PADDING_WEIGHT] * 5
        )
        assert not batch["weight"][row, :-7].any()
        assert shown.tolist() == sorted(shown.tolist())
        assert item.text in READER.decode(batch["ids"][row][shown])


def test_loss_counts_masked_answers(model: torch.nn.Module) -> None:
    """The loss is the cross-entropy of the masked window: near ln(vocabulary) before training."""
    batch = recipe.encode(READER, [questions.questions("sum")[5]] * 64, 5)
    with torch.no_grad():
        loss = recipe.masked_loss(model, batch, READER.mask_token_id, np.random.default_rng(0))
    vocabulary = language.config()["embedding_size"]
    assert 0.6 * np.log(vocabulary) < float(loss) < 2.5 * np.log(vocabulary)


def test_weights_arrive(model: torch.nn.Module, tmp_path: Path) -> None:
    """What is exported is what the backend opens, up to float16."""
    save_file(recipe.export(model), tmp_path / language.FILE)
    language.save_trained(tmp_path / "model", tmp_path)
    family = load(find("mmada"))
    opened = family.open(tmp_path / "model", family.Options(), Placement("cpu"))
    ids = torch.tensor([[5, 300, 17, 41]])
    with torch.no_grad():
        left, right = (item(ids).logits for item in (model, opened.model))
    assert (left - right).abs().max() < 2e-2 * left.abs().max()


def test_scores_are_shares(model: torch.nn.Module) -> None:
    """An untrained model answers next to nothing."""
    result: Mapping[str, float] = recipe.score(model, READER, limit=3)
    assert set(result) == set(KINDS)
    assert all(0 <= value <= 0.5 for value in result.values())


def test_answers_are_judged(demo_cache: Path) -> None:
    """The score reads text and attention of real captures; random weights read nothing special."""
    from attn import demo

    requested = questions.held_out("capital")[:2]
    for item in score_text.ask(requested, str(demo.checkpoint("tiny:mmada")), steps=2):
        assert not item.is_right
        assert 0 < item.clue < 1
        assert 1 / 60 < item.even < 1 / 20
