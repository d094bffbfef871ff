"""The tables of `sinks`: the token that is followed, the keys that are sinks, and the roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attn.analysis.numbers import Numbers, mean_present, or_nan
from attn.analysis.sinks.key_mass import Incoming
from attn.analysis.sinks.roles import Key
from attn.analysis.tables import Table, make_table, stack_tables
from attn.schema import Step, part

Keys = Mapping[str, Sequence[Key]]
"""What the keys of a layer are, by guidance row."""
Flags = NDArray[np.bool_]
STEP, HEAD = 2, 3
"""Axes of the masses of `Incoming`."""


@dataclass(frozen=True)
class Rules:
    """When a key is a sink; see `sinks`."""

    epsilon: float
    threshold: float
    heads: bool


@dataclass(frozen=True)
class FollowedToken:
    """One text key in one layer.

    Attributes:
        layer: its index.
        keys: what it is, by guidance row.
        num_text: text keys of the layer.
        mass: (branch, sample, step, head).
        text: likewise, the mass of all text keys.
        share: (branch, sample, step), of the mean over heads.
    """

    layer: int
    keys: Mapping[str, Key]
    num_text: int
    mass: Numbers
    text: Numbers
    share: Numbers

    def with_mean(self) -> dict[str, Numbers]:
        """Return the measures of a head; place 0 on that axis is the mean over heads."""
        mass, text = (
            np.concatenate([values.mean(HEAD, keepdims=True), values], HEAD)
            for values in (self.mass, self.text)
        )
        part_of_text = np.divide(mass, text, out=np.full_like(mass, np.nan), where=text > 0)
        share = np.full_like(mass, np.nan)
        share[:, :, :, 0] = self.share
        return {
            "mass": mass,
            "share": share,
            "text_share": part_of_text,
            "ratio_to_uniform": part_of_text * self.num_text,
        }


def find_sinks(mass: Numbers, total: Numbers, num_keys: int, rules: Rules) -> tuple[Flags, Flags]:
    """Flag the keys that are sinks: by the epsilon rule, and by the share rule.

    Args:
        mass: (…, key), of some or all keys of a row.
        total: (…), of all keys of the row.
        num_keys: of the row.
        rules: how much is much.
    """
    others = (total[..., np.newaxis] - mass) * num_keys / max(num_keys - 1, 1)
    return mass * num_keys > others + rules.epsilon, mass > rules.threshold


def tabulate_token(tokens: Sequence[FollowedToken], steps: Sequence[Step]) -> Table:
    """Lay out the followed token: a row per guidance row, sample, step, layer and head."""
    rows = (_token_rows(token, steps) for token in tokens)
    return stack_tables(rows, ("branch", "sample", "step"))


def list_sinks(incoming: Incoming, keys: Keys, rules: Rules) -> Table:
    """Return the keys of a layer that are sinks, with how often they are.

    `epsilon_part` and `share_part` are the parts of all (step, head) for which the rule holds.
    """
    mass, total = incoming.mass, incoming.total
    by_head = find_sinks(mass, total, incoming.num_keys, rules)
    if rules.heads:
        listed = (by_head[0] | by_head[1]).any((STEP, HEAD))
    else:
        means = find_sinks(mass.mean(HEAD), total.mean(HEAD), incoming.num_keys, rules)
        listed = (means[0] | means[1]).any(STEP)
    indices = np.argwhere(listed)
    branch, sample, key = indices.T
    cells = (~np.isnan(total)).sum((STEP, HEAD))[branch, sample]
    received = _flat_cells(mass)[branch, sample, :, key]
    names = list(keys)
    listed_keys = [keys[names[row]][other] for row, other in zip(branch, key, strict=True)]
    return make_table(
        _labels(incoming, np.array(names, object)[branch], sample)
        | _describe(listed_keys)
        | {
            "mass": mean_present(received, axis=1),
            "mass_max": np.nanmax(received, axis=1, initial=0.0),
            "ratio": mean_present(received, axis=1) * incoming.num_keys,
            "epsilon_part": by_head[0].sum((STEP, HEAD))[branch, sample, key] / cells,
            "share_part": by_head[1].sum((STEP, HEAD))[branch, sample, key] / cells,
        }
    )


def sum_roles(incoming: Incoming, keys: Keys) -> Table:
    """Return a row per guidance row, sample and role: its keys, and what they receive together.

    Keys whose masses were not kept are those of vectors that fill a sequence up, and the
    picture's: they get the rest of the row.
    """
    sums = _flat_cells(incoming.mass)  # branch, sample, cell, key
    whole = _flat_cells(incoming.total[..., np.newaxis])[..., 0]
    tables = []
    for index, (branch, labels) in enumerate(keys.items()):
        roles = np.array([f"{key.segment} {key.role}" for key in labels], object)
        names = list(dict.fromkeys(roles))
        counts = [int((roles == name).sum()) for name in names]
        masses = [mean_present(sums[index][..., roles == name].sum(-1), 1) for name in names]
        rest, left = incoming.num_keys - len(labels), whole[index] - sums[index].sum(-1)
        for segment, received in incoming.padding.items():
            mass = _flat_cells(received[..., np.newaxis])[index][..., 0]
            names.append(f"{segment} padding")
            counts.append(sum(of.length for of in part(incoming.layer.keys, segment)))
            masses.append(mean_present(mass, 1))
            rest, left = rest - counts[-1], left - mass
        if rest:
            names.append(f"{part(incoming.layer.keys, 'image')[0].name} image")
            counts.append(rest)
            masses.append(mean_present(left, 1))
        tables.append(_role_rows(incoming, branch, names, np.array(counts), np.stack(masses)))
    return stack_tables(tables)


def join(tables: Sequence[Table]) -> Table:
    """Put tables of the same columns one below the other, ordered by guidance row and sample."""
    return stack_tables(tables, ("branch", "sample", "rows"))


def _token_rows(token: FollowedToken, steps: Sequence[Step]) -> dict[str, NDArray[Any]]:
    measures = token.with_mean()
    branch, sample, step, head = np.indices(measures["mass"].shape).reshape(4, -1)
    names = list(token.keys)
    labels = [token.keys[name] for name in names]
    heads = np.array(["mean", *map(str, range(token.mass.shape[HEAD]))], object)
    described = _describe(labels)
    return {
        "branch": np.array(names, object)[branch],
        "sample": sample,
        "step": np.array([entry.index for entry in steps])[step],
        "timestep": or_nan([entry.timestep for entry in steps])[step],
        "noise": or_nan([entry.noise for entry in steps])[step],
        "layer": np.full(step.size, token.layer),
        "head": heads[head],
        **{name: column[branch] for name, column in described.items()},
        **{name: values.ravel() for name, values in measures.items()},
    }


def _role_rows(
    incoming: Incoming, branch: str, names: Sequence[str], counts: NDArray[np.int64], mass: Numbers
) -> Table:
    """Lay out masses (role, sample)."""
    sample, role = np.indices(mass.T.shape).reshape(2, -1)
    segments, roles = zip(*(name.rsplit(" ", 1) for name in names), strict=True)
    received = mass[role, sample]
    return make_table(
        _labels(incoming, np.full(role.size, branch, object), sample)
        | {
            "segment": np.array(segments, object)[role],
            "role": np.array(roles, object)[role],
            "keys": counts[role],
            "mass": received,
            "ratio": received * incoming.num_keys / counts[role],
        }
    )


def _labels(
    incoming: Incoming, branches: NDArray[np.object_], sample: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    return {
        "branch": branches,
        "sample": sample,
        "rows": np.full(sample.size, incoming.rows, object),
        "layer": np.full(sample.size, incoming.layer.index),
    }


def _describe(keys: Sequence[Key]) -> dict[str, NDArray[Any]]:
    return {
        "segment": np.array([key.segment for key in keys], object),
        "role": np.array([key.role for key in keys], object),
        "position": np.array([key.position for key in keys], np.int64),
        "token": np.array([key.token for key in keys], object),
    }


def _flat_cells(values: Numbers) -> Numbers:
    """Join the axes of steps and heads: (branch, sample, cell, key)."""
    branch, sample, step, head, key = values.shape
    return values.reshape(branch, sample, step * head, key)
