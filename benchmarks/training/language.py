"""What a small masked-diffusion language model learns from: questions whose answers are masked.

The loss is LLaDA's (Nie et al. 2025, https://arxiv.org/abs/2502.09992): of every example a share t
of the answer's positions is masked, and the cross-entropy of the masked ones is weighted by 1/t.
But t is not uniform on (0, 1): in most examples all is masked, and in none only a little. An answer
is one word here, which is to be read in the question and not in what is left of the answer; and
small shares, which weigh much and say little, drowned what the questions about scenes taught. The
answer fills a window of some length, as in sampling; the end-of-text tokens behind it count little,
or the model would learn nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from attn.backends.families.mmada import llama
from attn.demo import language, questions
from attn.demo.questions import KINDS, Question
from benchmarks.training.loop import Stage

STEPS, BATCH, RATE = 4000, 48, 1e-3
WINDOWS, OFTEN = (16, 32, 128), (0.9, 0.07, 0.03)
"""Lengths of the answer's window, and how often each is drawn; 128 is the default of sampling."""
PADDING_WEIGHT = 0.05
"""Of the end-of-text tokens after the first."""
LEAST, MOST = 0.5, 2.5
"""Shares of masked positions are drawn between these, and above 1 all are."""
FRESH = {"wte": 0.02, "q_proj": 0.15, "k_proj": 0.15}
"""How large fresh matrices are beside those of the demo model with random weights, which is loud so
that its attention is not flat; all others are `FRESH_OTHERS`."""
FRESH_OTHERS = 0.5


def build(seed: int = 0) -> LlamaForCausalLM:
    """Return a model with small random weights."""
    weights = language.random_weights(seed, language.TRAINED)
    state = {
        str(llama.rename(name)): weight * _fresh(name, weight) for name, weight in weights.items()
    }
    model = llama.empty_model(_config(), Path())
    model.load_state_dict(state, assign=True)
    return model


def export(model: LlamaForCausalLM) -> dict[str, Tensor]:
    """Return the weights in float16 under their names in a checkpoint."""
    state = model.state_dict()
    names = language.shapes(language.TRAINED)
    return {name: state[str(llama.rename(name))].half().contiguous() for name in names}


def stage(model: LlamaForCausalLM, average: LlamaForCausalLM, *, steps: int = STEPS) -> Stage:
    """Return what to train and how; the pictures are sheets of answers, as text."""
    reader = language.tokenizer()

    def loss(rng: np.random.Generator, number: int) -> Tensor:
        requested = [draw(rng) for _ in range(number)]
        window = int(rng.choice(WINDOWS, p=OFTEN))
        return masked_loss(model, encode(reader, requested, window), reader.mask_token_id, rng)

    def show(path: Path) -> None:
        right = score(average, reader, limit=40)
        lines = [f"{kind}: {value:.3f}" for kind, value in right.items()]
        path.with_suffix(".txt").write_text("\n".join(lines) + "\n")

    models, averages = {"llama": model}, {"llama": average}
    return Stage("language", models, averages, loss, show, steps, BATCH, RATE, show_every=500)


def draw(rng: np.random.Generator) -> Question:
    """Draw a question that may be learned, every kind as often."""
    pool = questions.learned(KINDS[rng.integers(len(KINDS))])
    return pool[rng.integers(len(pool))]


def encode(
    reader: PreTrainedTokenizerFast, asked: list[Question], window: int
) -> dict[str, Tensor]:
    """Lay out questions and answers, prompts padded on the left.

    Returns:
        `ids`, `shown` (not padding), and `weight` (0 outside of the answer's window), each
        (example, position).
    """
    prompts = [_prompt(reader, item.text) for item in asked]
    longest = max(map(len, prompts))
    end = reader.eos_token_id
    shape = (len(asked), longest + window)
    ids, shown = torch.full(shape, end), torch.zeros(shape, dtype=torch.bool)
    weight = torch.zeros(shape)
    for row, (item, prompt) in enumerate(zip(asked, prompts, strict=True)):
        answer = reader(item.answer, add_special_tokens=False)["input_ids"]
        ids[row, longest - len(prompt) : longest] = torch.tensor(prompt)
        ids[row, longest : longest + len(answer)] = torch.tensor(answer)
        shown[row, longest - len(prompt) :] = True
        weight[row, longest:] = PADDING_WEIGHT
        weight[row, longest : longest + len(answer) + 1] = 1.0
    return {"ids": ids, "shown": shown, "weight": weight}


def masked_loss(
    model: LlamaForCausalLM, batch: Mapping[str, Tensor], mask: int, rng: np.random.Generator
) -> Tensor:
    """Mask a share of every answer, and return the weighted cross-entropy of what was masked."""
    device = model.device
    ids, shown, weight = (batch[name].to(device) for name in ("ids", "shown", "weight"))
    drawn_shares = rng.uniform(LEAST, MOST, (len(ids), 1)).clip(max=1).astype(np.float32)
    share = torch.from_numpy(drawn_shares).to(device)
    drawn = torch.from_numpy(rng.random(ids.shape, np.float32)).to(device)
    masked = (drawn < share) & (weight > 0)
    logits = _run(model, torch.where(masked, mask, ids), shown, masked)
    losses = cross_entropy(logits, ids[masked], reduction="none")
    weights = (weight / share)[masked]
    return (losses * weights).sum() / weight.sum()


@torch.no_grad()
def score(
    model: LlamaForCausalLM, reader: PreTrainedTokenizerFast, *, limit: int | None = None
) -> dict[str, float]:
    """Return the share of held-out questions that are answered at once from masks, by kind.

    Args:
        model: the model.
        reader: its tokenizer.
        limit: at most so many questions of a kind.
    """
    right = {}
    for kind in KINDS:
        requested = list(questions.held_out(kind))[:limit]
        batch = encode(reader, requested, WINDOWS[0])
        window = batch["weight"] > 0
        noisy = torch.where(window, reader.mask_token_id, batch["ids"]).to(model.device)
        shown = batch["shown"].to(model.device)
        selected = _run(model, noisy, shown, window.to(model.device)).argmax(-1).cpu()
        same = (selected == batch["ids"][window]).view(len(requested), -1)
        right[kind] = float(same.all(1).float().mean())
    return right


def _fresh(name: str, tensor: Tensor) -> float:
    part = name.removesuffix(".weight").rpartition(".")[-1]
    return FRESH.get(part, FRESH_OTHERS) if tensor.ndim > 1 else 1.0


def _run(model: LlamaForCausalLM, ids: Tensor, shown: Tensor, wanted: Tensor) -> Tensor:
    """Return the logits of the wanted positions; padding is hidden and not counted as positions."""
    indices = (shown.cumsum(1) - 1).clamp(min=0)
    states = model.model(
        input_ids=ids, attention_mask=shown, position_ids=indices, use_cache=False
    ).last_hidden_state
    logits: Tensor = model.lm_head(states[wanted])
    return logits


def _prompt(reader: PreTrainedTokenizerFast, text: str) -> list[int]:
    filled = reader.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
    )
    return list(reader(filled, add_special_tokens=False)["input_ids"])


def _config() -> llama.Config:
    held = {
        name: value
        for name, value in language.config(language.TRAINED).items()
        if name in llama.Config.__dataclass_fields__
    }
    return llama.Config(**held)
