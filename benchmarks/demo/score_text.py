"""How well the demo language model answers held-out questions, and whether it reads what decides.

    python -m benchmarks.demo.score_text [--model FOLDER] [--questions N] [--steps 4]

Asks all held-out questions, or up to so many of each kind, through `attn.capture` at temperature 0.
Prints per kind the share that is right word for word, and what the answer's position read of the
word of the question that decides (the country, the thing, the number, what is said of the scene) in
the step in which it was decided, mean over layers and heads, against what the word would get if all
got the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import attn
from attn.demo import questions
from attn.demo.questions import KINDS, Question
from attn.trace.trace import Trace

SETTINGS = {"gen_length": "16", "block_length": "16", "temperature": "0"}
BATCH = 16


@dataclass(frozen=True)
class Answer:
    """What became of one question.

    Attributes:
        is_right: whether the text is the answer, word for word.
        clue: mass on the deciding word when the first position of the text was decided.
        even: what the word would get if every position got the same.
    """

    is_right: bool
    clue: float
    even: float


def main() -> None:
    """Read the command line, ask, and print the table."""
    arguments = _parse()
    print("kind      questions  right   mass on the clue  even   times even")
    for kind in KINDS:
        requested = questions.held_out(kind)[: arguments.questions]
        answers = ask(requested, arguments.model, arguments.steps)
        right = float(np.mean([answer.is_right for answer in answers]))
        clue, even = (
            float(np.mean(values))
            for values in ([answer.clue for answer in answers], [answer.even for answer in answers])
        )
        print(
            f"{kind:<9} {len(answers):>9}  {right:>5.1%}  {clue:>16.4f}  {even:.4f}  "
            f"{clue / even:.1f}"
        )


def ask(asked: Sequence[Question], model: str, steps: int) -> list[Answer]:
    """Ask some questions, and judge text and attention."""
    with TemporaryDirectory() as scratch:
        captured = attn.capture(
            "mmada",
            [item.text for item in asked],
            model=model,
            steps=steps,
            batch=BATCH,
            out=Path(scratch, "run"),
            settings=SETTINGS,
        )
        folders = [captured.path / entry.folder for entry in captured.entries]
        return [judge(attn.open(path), item) for path, item in zip(folders, asked, strict=True)]


def judge(trace: Trace, question: Question) -> Answer:
    """Compare a trace with its question."""
    text = Path(trace.folder or "", "outputs/text.txt").read_text(encoding="utf-8")
    tokens = trace.tokens()
    first = next(token.position for token in tokens if token.segment == "generated")
    step = int(trace.written("finalised").values[:, 0, 0, first].argmax())
    word = next(word.index for word in trace.words if word.text == question.clue)
    indices = [token.position for token in tokens if token.word == word]
    rows = [
        trace.maps(layer.index, "all.all").isel(step=step, branch=0, sample=0, query=first).values
        for layer in trace.layers
    ]
    clue = float(np.mean([row[indices].sum(dtype=np.float64) for row in rows]))
    return Answer(text.strip() == question.answer, clue, len(indices) / len(tokens))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--questions", type=int, help="of each kind")
    parser.add_argument("--steps", type=int, default=4)
    return parser.parse_args()


if __name__ == "__main__":
    main()
