"""What two texts from one prompt differ in: decided tokens, how surely, and in which order.

Definitions, for one text of a variant and that of the baseline from the same prompt and seed:

- token       part of the positions that hold another token. Of what a text ends with over and over,
              such as end marks, the first counts; the longer of the two texts has the positions.
- confidence  the probability of each decided token when it was decided, variant minus baseline,
              mean over the same positions, as far as both decided them.
- order       part of the pairs of positions of one block whose order of decision (before, at once,
              after) is another. Texts that are written token by token have no order to choose.
- text        1 if any token is another, else 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attn.analysis.numbers import Numbers
from attn.errors import TraceError

if TYPE_CHECKING:
    from attn.trace.trace import Trace

TOKEN, CONFIDENCE, ORDER, TEXT = "token", "confidence", "order", "text"
NONE = -1
"""Token, step or block of a position that was not decided."""
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class WrittenDecisions:
    """How one text was decided; arrays are (position,), from where it begins.

    Attributes:
        tokens: ids.
        confidence: probability of each token when it was decided, 0 to 1; NaN of none.
        steps: in which step each was decided.
        blocks: positions of one block could be decided in any order.
        names: tokens as texts, by id.
    """

    tokens: Integers
    confidence: Numbers
    steps: Integers
    blocks: Integers
    names: Mapping[int, str]

    @property
    def length(self) -> int:
        """Positions up to the first of those that the text ends with over and over."""
        others = np.flatnonzero(self.tokens != self.tokens[-1:])
        return min(int(others[-1]) + 2 if len(others) else 1, len(self.tokens))

    @property
    def key(self) -> tuple[bytes, bytes, bytes]:
        """What is the same of texts that were decided alike."""
        return self.tokens.tobytes(), self.confidence.tobytes(), self.steps.tobytes()

    def text(self, position: int) -> str:
        """Return the token at a position; nothing where there is none."""
        there = position < len(self.tokens)
        return self.names.get(int(self.tokens[position]), "") if there else ""


def read_decisions(trace: Trace) -> list[WrittenDecisions]:
    """Return how each text of a trace was decided.

    Raises:
        TraceError: the trace does not say it.
    """
    outputs = (name for name in trace.manifest.outputs if name.startswith("outputs/history"))
    names = sorted(outputs, key=lambda name: (len(name), name))  # history-10 is behind history-9
    if not names:
        raise TraceError(f"{trace.folder or 'the trace'} does not say how its text was decided")
    decisions = []
    for name in names:
        try:
            decisions.append(_decisions(dict(json.loads(trace.output(name)))))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise TraceError(
                f"{trace.folder}/{name} is no history of a text: {error!r:.80}"
            ) from error
    return decisions


def _decisions(history: Mapping[str, Any]) -> WrittenDecisions:
    """Read a history: of steps that decide several positions at once, or the next one."""
    start = int(history["prompt_length"])
    decided = [of for step in history["steps"] for of in _decided(step, start)]
    length = max([position + 1 for position, *_ in decided] + [int(history.get("gen_length", 0))])
    tokens, steps, blocks = (np.full(length, NONE, np.int64) for _ in range(3))
    confidence = np.full(length, np.nan)
    for position, token, chance, step, block in decided:
        tokens[position], confidence[position] = token, chance
        steps[position], blocks[position] = step, block
    names = {int(number): str(text) for number, text in history["texts"].items()}
    return WrittenDecisions(tokens, confidence, steps, blocks, names)


def _decided(step: Mapping[str, Any], start: int) -> Iterator[tuple[int, int, float, int, int]]:
    """Yield position, token, confidence, step and block of what a step decided."""
    number = int(step["step"])
    if "position" in step:
        position = int(step["position"]) - start
        yield position, int(step["token"]), float(step["confidence"]), number, position
        return
    for position, chance in zip(step["finalised"], step["confidence"], strict=True):
        at = int(position) - start
        yield at, int(step["tokens"][at]), float(chance), number, int(step["block"])


def text_changes(before: WrittenDecisions, after: WrittenDecisions) -> dict[str, float]:
    """Return the measures of one text, those that it has; see the module."""
    length = max(before.length, after.length)
    sides = [np.array(of.tokens[:length].tolist()) for of in (before, after)]
    pairs = zip_longest(*(side.tolist() for side in sides), fillvalue=None)
    others = [first != second for first, second in pairs]
    common = min(len(of.tokens) for of in (before, after))
    changes = (after.confidence[:common] - before.confidence[:common])[:length]
    measures = {TOKEN: float(np.mean(others)), TEXT: float(any(others))} if others else {}
    if np.isfinite(changes).any():
        measures[CONFIDENCE] = float(np.nanmean(changes))
    order = order_change(before, after)
    return measures if order is None else measures | {ORDER: order}


def order_change(before: WrittenDecisions, after: WrittenDecisions) -> float | None:
    """Return which part of the pairs of positions of one block changed order; None without one."""
    common = min(len(before.tokens), len(after.tokens))
    blocks = before.blocks[:common]
    there = (blocks != NONE) & (after.blocks[:common] == blocks)
    changed = pairs = 0
    for block in np.unique(blocks[there]):
        members = np.flatnonzero(there & (blocks == block))
        orders = [
            np.sign(steps[:, None] - steps[None])
            for steps in (before.steps[members], after.steps[members])
        ]
        changed += int((orders[0] != orders[1]).sum())
        pairs += len(members) * (len(members) - 1)
    return changed / pairs if pairs else None


def decision_rows(before: WrittenDecisions, after: WrittenDecisions) -> Iterator[dict[str, Any]]:
    """Yield what was decided at each position, of both texts."""
    for position in range(max(before.length, after.length)):
        row: dict[str, Any] = {"position": position}
        for name, of in (("base", before), ("variant", after)):
            there = position < len(of.tokens)
            row |= {
                f"{name}_token": of.text(position),
                f"{name}_confidence": float(of.confidence[position]) if there else float("nan"),
                f"{name}_step": int(of.steps[position]) if there else NONE,
            }
        yield row


def first_alike(texts: Sequence[tuple[str, WrittenDecisions]]) -> list[int]:
    """Return, of each text, the first one of its prompt that was decided alike.

    Args:
        texts: prompt and decisions.
    """
    seen: dict[Any, int] = {}
    return [seen.setdefault((prompt, of.key), at) for at, (prompt, of) in enumerate(texts)]
