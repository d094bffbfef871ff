"""Attention sinks: keys that receive much more than others, found rather than assumed.

Definitions, for one layer, head and step, with m[j] the mass of key j (mean over rows of the
probability that j receives, so that all K keys of a row sum to 1):

- ratio             K · m[j]: 1 where every key gets the same. Over all rows of joint attention this
                    is the column sum of the attention matrix.
- epsilon rule      ratio[j] > mean of the other K - 1 ratios + epsilon. With epsilon = 3 this is
                    what Rulli et al. 2025 (https://arxiv.org/abs/2510.15731) use for masked
                    diffusion language models, on column sums; they have all rows.
- share rule        m[j] > threshold. With 0.3 as Gu et al. 2025 (https://arxiv.org/abs/2410.10781),
                    who apply it to language models with causal attention.

A key is listed if a rule holds for its mean over heads in some step (`heads=yes`: for some head).

- text_share        m[j] / Σ m over all text keys: a ratio of means.
- ratio_to_uniform  T · text_share, with T text keys: what sd35_attn_compare calls "share". Its
                    denominator has padding in it, as there, so it depends on how long that is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from msgspec import to_builtins

from attn.analysis.needs import Needs
from attn.analysis.result import Deferred, Document, Result
from attn.analysis.sinks.arrays import label_heads, label_roles, label_steps, summarise
from attn.analysis.sinks.key_mass import Incoming, read_incoming
from attn.analysis.sinks.roles import Key, read_keys
from attn.analysis.sinks.tables import (
    FollowedToken,
    Keys,
    Rules,
    join,
    list_sinks,
    sum_roles,
    tabulate_token,
)
from attn.analysis.tables import Table
from attn.analysis.words.select import select_layers, select_steps
from attn.analysis.words.selection import BLOCK
from attn.errors import AnalysisError
from attn.schema import name_layers

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace.trace import Trace

NEEDS = Needs(segments=("image", "text"), measures=(f"mass.{BLOCK}", f"share.{BLOCK}"))
WANTS = Needs(image_keys=True)

Value = Literal["mass", "text_share", "ratio_to_uniform"]


@dataclass(frozen=True)
class SinksOptions:
    """Which token to follow, and what counts as a sink."""

    token: int = field(
        default=0, metadata={"help": "text key that is followed, counted over all text segments"}
    )
    value: Value = field(default="mass", metadata={"help": "of that token in the pictures"})
    epsilon: float = field(
        default=3.0, metadata={"help": "excess over the mean of the other keys, 1 being uniform"}
    )
    threshold: float = field(
        default=0.3, metadata={"help": "mass above which a key is a sink by the share rule"}
    )
    heads: bool = field(
        default=False, metadata={"help": "list also what is a sink in single heads only"}
    )
    layers: tuple[str, ...] = field(
        default=(), metadata={"help": "7, 0-11, or a glob of the path; empty is the first tower"}
    )
    steps: tuple[str, ...] = field(default=(), metadata={"help": "7 or 0-9; empty is every step"})

    def __post_init__(self) -> None:
        if not math.isfinite(self.epsilon):
            raise ValueError(f"epsilon must be a number, got {self.epsilon}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is a mass, 0 to 1; got {self.threshold:g}")


def run(trace: Trace, options: SinksOptions) -> Result:
    """Follow one token, and find the sinks of a trace, in every guidance row that was kept.

    Returns:
        `sinks/first_token_metrics.csv`, `sinks/sinks.csv`, `sinks/roles.csv` and
        `sinks/tokens.json`; to draw, of the first guidance row and as means over samples: `heads`
        (layer, head), `steps` (layer, step), `roles` (role, layer). Where no layer has text keys, a
        note says so and the first table, `heads` and `steps` are left out.

    Raises:
        AnalysisError: the token is out of range, or a layer or step is not there.
    """
    blocks = {BLOCK, "image.image"}
    layers = select_layers(
        [layer for layer in trace.layers if blocks & set(layer.blocks)], options.layers
    )
    steps = select_steps(trace.steps, options.steps)
    rules = Rules(options.epsilon, options.threshold, options.heads)
    followed: list[FollowedToken] = []
    sinks: list[Table] = []
    roles: list[Table] = []
    for layer in layers:
        for incoming in read_incoming(trace, layer, steps):
            keys = _keys(trace, incoming)
            sinks.append(list_sinks(incoming, keys, rules))
            roles.append(sum_roles(incoming, keys))
            if incoming.rows == "image" and BLOCK in layer.blocks:
                followed.append(_follow(trace, incoming, keys, options.token, steps))
    captured = [step for step in trace.steps if step.index in steps]
    tables: dict[str, Table] = {}
    arrays: dict[str, Callable[[], xr.DataArray]] = {}
    if followed:
        tables["sinks/first_token_metrics.csv"] = tabulate_token(followed, captured)
        arrays["heads"] = partial(label_heads, followed, options.value)
        arrays["steps"] = partial(label_steps, followed, captured, options.value)
    received = join(roles)
    tables |= {"sinks/sinks.csv": join(sinks), "sinks/roles.csv": received}
    arrays["roles"] = partial(label_roles, received)
    notes = () if followed else ("the chosen layers have no text keys, so no token is followed",)
    files = {"sinks/tokens.json": _list_tokens(trace)}
    names = name_layers(trace.layers)
    digests = summarise(received, followed, captured, options.value, names)
    return Result(tables, Deferred(arrays), notes, files, digests)


def _keys(trace: Trace, incoming: Incoming) -> Keys:
    return {branch: read_keys(incoming.columns, trace.tokens(branch)) for branch in trace.branches}


def _follow(
    trace: Trace, incoming: Incoming, keys: Keys, index: int, steps: Sequence[int]
) -> FollowedToken:
    """Take one text key of a layer; the text keys come first in `incoming`.

    Raises:
        AnalysisError: there is no such key.
    """
    text = [key for key in keys[trace.branches[0]] if key.role != "image"]
    if not 0 <= index < len(text):
        raise AnalysisError(_explain_range(text, index))
    share = trace.pieces("share", incoming.layer.index, BLOCK).values(steps)
    return FollowedToken(
        layer=incoming.layer.index,
        keys={branch: labels[index] for branch, labels in keys.items()},
        num_text=len(text),
        mass=incoming.mass[..., index],
        text=incoming.mass[..., : len(text)].sum(-1),
        share=share[..., index].astype(np.float64),
    )


def _explain_range(text: Sequence[Key], index: int) -> str:
    positions: dict[str, list[int]] = {}
    for position, key in enumerate(text):
        positions.setdefault(key.segment, []).append(position)
    spans = ", ".join(f"{name} {span[0]}-{span[-1]}" for name, span in positions.items())
    return f"token {index} is out of range: there are {len(text)} text keys, {spans}"


def _list_tokens(trace: Trace) -> Document:
    """Return the text keys of every guidance row, with sd35_attn_compare's four names first."""
    read = {branch: trace.tokens(branch) for branch in trace.branches}
    first = read[trace.branches[0]]
    keys = {
        branch: [{"index": index} | fields for index, fields in enumerate(to_builtins(tokens))]
        for branch, tokens in read.items()
    }
    return Document(
        {
            "prompts": [trace.manifest.request.prompt],
            "token_ids": [[token.id for token in first]],
            "tokens": [[token.text for token in first]],
            "unconditional": "uncond" in trace.branches,
            "truncated": trace.manifest.truncated,
            "keys": keys,
        }
    )
