"""The names that a model's weights have in other layouts, derived from the model's own structure.

A LoRA may be spelled for another layout than that of the model's files: kohya trains SDXL in LDM's
names, SD3 in Stability's with query, key and value in one matrix; models come in diffusers folders.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, product

from attn.checkpoints.families import layouts
from attn.checkpoints.layouts import BLOCK, Naming, numbered
from attn.lora.changes.kinds import Weight


@dataclass(frozen=True)
class BaseWeight:
    """A weight of the base model: dotted paths of its parts there, and where they are stored.

    `is_swapped` says that the other layout has the two halves of the rows in the other order.
    """

    paths: tuple[str, ...]
    weight: Weight
    is_swapped: bool = False

    @property
    def path(self) -> str:
        """All paths, for people."""
        return " + ".join(self.paths)


BaseWeights = Mapping[str, BaseWeight]


def with_other_layouts(entries: BaseWeights) -> dict[str, BaseWeight]:
    """Return weights by their own paths and by those that they have in other layouts."""
    renamed = dict(_renamed(entries, _unet_pairs(entries)))
    renamed |= _joint(entries)
    for layout in layouts():
        renamed |= _of_layout(entries, layout)
    renamed |= _clip(entries)
    return renamed | dict(entries)


Pair = tuple[str, str]
"""Beginnings of paths: in diffusers, in LDM."""

_INSIDE = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
"""Of a ResNet of a UNet."""

_ENDS = [
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
    ("conv_in", "input_blocks.0.0"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
]


def _unet_pairs(entries: BaseWeights) -> list[Pair]:
    """Return the corresponding parts of a UNet; empty for another network."""
    if "down_blocks.0.resnets.0.conv1" in entries:
        return [*_ENDS, *_middle(), *_down_of_diffusers(entries), *_up_of_diffusers(entries)]
    if "input_blocks.1.0.in_layers.2" in entries:
        return [*_ENDS, *_middle(), *_down_of_ldm(entries), *_up_of_ldm(entries)]
    return []


def _middle() -> Iterator[Pair]:
    yield from _resnet("mid_block.resnets.0", "middle_block.0")
    yield "mid_block.attentions.0", "middle_block.1"
    yield from _resnet("mid_block.resnets.1", "middle_block.2")


def _resnet(ours: str, theirs: str) -> Iterator[Pair]:
    for name, other in _INSIDE.items():
        yield f"{ours}.{name}", f"{theirs}.{other}"


def _down_of_diffusers(entries: BaseWeights) -> Iterator[Pair]:
    number = count(1)
    for level in _numbers(entries, "down_blocks.{}.resnets.0.conv1"):
        block = f"down_blocks.{level}"
        for layer in _numbers(entries, block + ".resnets.{}.conv1"):
            there = f"input_blocks.{next(number)}"
            yield from _resnet(f"{block}.resnets.{layer}", f"{there}.0")
            yield f"{block}.attentions.{layer}", f"{there}.1"
        if f"{block}.downsamplers.0.conv" in entries:
            yield f"{block}.downsamplers.0.conv", f"input_blocks.{next(number)}.0.op"


def _up_of_diffusers(entries: BaseWeights) -> Iterator[Pair]:
    number = -1
    for level in _numbers(entries, "up_blocks.{}.resnets.0.conv1"):
        block = f"up_blocks.{level}"
        for layer in _numbers(entries, block + ".resnets.{}.conv1"):
            number += 1
            yield from _resnet(f"{block}.resnets.{layer}", f"output_blocks.{number}.0")
            yield f"{block}.attentions.{layer}", f"output_blocks.{number}.1"
        index = 2 if f"{block}.attentions.0.proj_in" in entries else 1
        yield f"{block}.upsamplers.0.conv", f"output_blocks.{number}.{index}.conv"


def _down_of_ldm(entries: BaseWeights) -> Iterator[Pair]:
    level = layer = 0
    for number in count(1):
        there = f"input_blocks.{number}"
        if f"{there}.0.op" in entries:
            yield f"down_blocks.{level}.downsamplers.0.conv", f"{there}.0.op"
            level, layer = level + 1, 0
        elif f"{there}.0.in_layers.2" in entries:
            yield from _resnet(f"down_blocks.{level}.resnets.{layer}", f"{there}.0")
            yield f"down_blocks.{level}.attentions.{layer}", f"{there}.1"
            layer += 1
        else:
            return


def _up_of_ldm(entries: BaseWeights) -> Iterator[Pair]:
    level = layer = 0
    for number in _numbers(entries, "output_blocks.{}.0.in_layers.2"):
        there = f"output_blocks.{number}"
        yield from _resnet(f"up_blocks.{level}.resnets.{layer}", f"{there}.0")
        layer += 1
        if f"{there}.1.proj_in" in entries:
            yield f"up_blocks.{level}.attentions.{layer - 1}", f"{there}.1"
        for sampler in (f"{there}.1.conv", f"{there}.2.conv"):
            if sampler in entries:
                yield f"up_blocks.{level}.upsamplers.0.conv", sampler
                level, layer = level + 1, 0


def _numbers(entries: BaseWeights, pattern: str) -> Iterator[int]:
    """Yield 0, 1, 2 … as long as there is a weight of that name."""
    for number in count():
        if pattern.format(number) not in entries:
            return
        yield number


def _renamed(entries: BaseWeights, pairs: list[Pair]) -> Iterator[tuple[str, BaseWeight]]:
    """Yield every weight of a UNet under its path in the other layout."""
    to = dict(pairs) | {theirs: ours for ours, theirs in pairs}
    for path, entry in entries.items():
        words = path.split(".")
        for stop in range(len(words), 0, -1):
            beginning = ".".join(words[:stop])
            if beginning in to:
                yield ".".join((to[beginning], *words[stop:])), entry
                break


_STREAMS = {
    "x_block.attn": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block.attn2": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "context_block.attn": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
"""Of a joint block: Stability's attention, whose `qkv` is three matrices in diffusers."""

_GATES = {
    "x_block.attn": "attn.gates.image.0",
    "x_block.attn2": "attn2.gates.image.0",
    "context_block.attn": "attn.gates.text.0",
}
"""Where loaded models have their gates, which in files are further rows of `qkv`."""

OTHER_ROWS = " (other rows)"
"""Ends the name of the second place of a weight: `qkv` with the rows of gates, or without them."""

_JOINT = {
    "x_block.attn.proj": "attn.to_out.0",
    "x_block.attn2.proj": "attn2.to_out.0",
    "context_block.attn.proj": "attn.to_add_out",
    "x_block.attn.ln_q": "attn.norm_q",
    "x_block.attn.ln_k": "attn.norm_k",
    "x_block.attn2.ln_q": "attn2.norm_q",
    "x_block.attn2.ln_k": "attn2.norm_k",
    "context_block.attn.ln_q": "attn.norm_added_q",
    "context_block.attn.ln_k": "attn.norm_added_k",
    "x_block.mlp.fc1": "ff.net.0.proj",
    "x_block.mlp.fc2": "ff.net.2",
    "context_block.mlp.fc1": "ff_context.net.0.proj",
    "context_block.mlp.fc2": "ff_context.net.2",
    "x_block.adaLN_modulation.1": "norm1.linear",
    "context_block.adaLN_modulation.1": "norm1_context.linear",
}
_JOINT_ENDS = {
    "x_embedder.proj": "pos_embed.proj",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}


def _joint(entries: BaseWeights) -> dict[str, BaseWeight]:
    """Return the weights of a transformer of joint blocks by their paths in the other layout."""
    if "joint_blocks.0.x_block.attn.qkv" in entries:
        return dict(_joint_of_stability(entries))
    if "transformer_blocks.0.attn.add_k_proj" in entries:
        return dict(_joint_of_diffusers(entries))
    return {}


def _joint_of_stability(entries: BaseWeights) -> Iterator[tuple[str, BaseWeight]]:
    for path, entry in entries.items():
        if path in _JOINT_ENDS:
            yield _JOINT_ENDS[path], entry
        match = re.match(r"joint_blocks\.(\d+)\.(.+)\Z", path)
        if match is None:
            continue
        block, inside = f"transformer_blocks.{match[1]}", match[2]
        if inside in _JOINT:
            yield f"{block}.{_JOINT[inside]}", entry
        if inside.endswith(".qkv"):
            names = _STREAMS.get(inside.removesuffix(".qkv"), ())
            plain = _without_gates(entry)
            if plain is not entry:
                yield path + OTHER_ROWS, plain
            yield from _split(plain, [f"{block}.{name}" for name in names])


def _joint_of_diffusers(entries: BaseWeights) -> Iterator[tuple[str, BaseWeight]]:
    ends = {theirs: ours for ours, theirs in _JOINT_ENDS.items()}
    inner = {theirs: ours for ours, theirs in _JOINT.items()}
    for path, entry in entries.items():
        other = replace(entry, is_swapped=_is_swapped(path, entry))
        if path in ends:
            yield ends[path], other
        match = re.match(r"transformer_blocks\.(\d+)\.(.+)\Z", path)
        if match and match[2] in inner:
            yield f"joint_blocks.{match[1]}.{inner[match[2]]}", other
    for number in _numbers(entries, "transformer_blocks.{}.attn.to_q"):
        for stream, names in _STREAMS.items():
            parts = [entries.get(f"transformer_blocks.{number}.{name}") for name in names]
            if not all(parts):
                continue
            yield f"joint_blocks.{number}.{stream}.qkv", _joined(parts)
            gate = entries.get(f"transformer_blocks.{number}.{_GATES[stream]}")
            if gate is not None:
                joined = _joined([*parts, gate])
                yield f"joint_blocks.{number}.{stream}.qkv{OTHER_ROWS}", joined
                yield f"joint_blocks.{number}.{stream}.gate_proj", gate


def _is_swapped(path: str, entry: BaseWeight) -> bool:
    """Whether scale and shift are in the other order, as where a modulation is of nothing else.

    Source: `swap_scale_shift` of diffusers' conversion; the last block has one for its text.
    """
    (stored,) = entry.weight
    is_last = path.endswith("norm1_context.linear") and stored.info.shape[0] == 2 * stored.columns
    return is_last or path == "norm_out.linear"


def _split(entry: BaseWeight, names: Sequence[str]) -> Iterator[tuple[str, BaseWeight]]:
    """Yield query, key and value under their names; nothing where something stands beside them."""
    (stored,) = entry.weight
    size = stored.columns
    if stored.info.shape[0] == len(names) * size:
        for index, name in enumerate(names):
            part = stored.slice(index * size, (index + 1) * size)
            yield name, BaseWeight(entry.paths, (part,))


def _without_gates(entry: BaseWeight) -> BaseWeight:
    """Return the rows of query, key and value alone; the same place where there are no others."""
    (stored,) = entry.weight
    size = 3 * stored.columns
    return (
        BaseWeight(entry.paths, (stored.slice(0, size),)) if stored.info.shape[0] > size else entry
    )


def _joined(parts: list[BaseWeight | None]) -> BaseWeight:
    present = [part for part in parts if part]
    return BaseWeight(
        tuple(path for part in present for path in part.paths),
        tuple(stored for part in present for stored in part.weight),
    )


def _of_layout(entries: BaseWeights, layout: Naming) -> dict[str, BaseWeight]:
    """Return the weights of a transformer that a table describes, by their other names."""
    is_authors = all(mark.removesuffix(".weight") in entries for mark in layout.marks)
    ours = dict(_of_authors(entries, layout)) if is_authors else dict(entries)
    names = layout.aliases if is_authors else {**layout.modules, **layout.aliases}
    others = dict(_of_library(ours, names))
    swapped = {
        path: replace(others[path], is_swapped=True) for path in layout.swapped & others.keys()
    }
    return (ours if is_authors else {}) | others | swapped


def _of_authors(entries: BaseWeights, layout: Naming) -> Iterator[tuple[str, BaseWeight]]:
    """Yield the weights of a model in its authors' layout by diffusers' paths."""
    for path, entry in entries.items():
        pattern, number = numbered(path)
        names = [name.replace(BLOCK, number) for name in layout.modules.get(pattern, ())]
        if len(names) > 1:
            yield from _rows(entry, names)
        elif names:
            yield names[0], replace(entry, is_swapped=pattern in layout.swapped)


def _rows(entry: BaseWeight, names: Sequence[str]) -> Iterator[tuple[str, BaseWeight]]:
    """Yield the parts of joined rows: all are as many as the columns, but for the last."""
    (stored,) = entry.weight
    edges = [index * stored.columns for index in range(len(names))] + [stored.info.shape[0]]
    if edges == sorted(edges):
        for name, start, stop in zip(names, edges, edges[1:], strict=False):
            yield name, BaseWeight(entry.paths, (stored.slice(start, stop),))


def _of_library(
    entries: BaseWeights, names: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, BaseWeight]]:
    """Yield the weights that diffusers' paths stand for by other names of these paths."""
    numbers = dict.fromkeys(numbered(path)[1] for path in entries)
    for (name, paths), number in product(names.items(), numbers):
        parts = [entries.get(path.replace(BLOCK, number)) for path in paths]
        if all(parts):
            yield name.replace(BLOCK, number), _joined(parts)


_OPEN_CLIP = {
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
}


_CLIP = "text_model."  # around everything in older files, around nothing in newer ones


def _clip(entries: BaseWeights) -> dict[str, BaseWeight]:
    """Return the weights of a CLIP text encoder by their paths in old and new transformers."""
    everything = dict(entries) | dict(_clip_of_open_clip(entries))
    old = {path: entry for path, entry in everything.items() if path.startswith(_CLIP)}
    new = {
        path: entry
        for path, entry in everything.items()
        if path.startswith(("encoder.layers.", "embeddings.", "final_layer_norm"))
    }
    added = {_CLIP + path: entry for path, entry in new.items()}
    return everything | added | {path.removeprefix(_CLIP): entry for path, entry in old.items()}


def _clip_of_open_clip(entries: BaseWeights) -> Iterator[tuple[str, BaseWeight]]:
    for path, entry in entries.items():
        match = re.match(r"(?:model\.)?transformer\.resblocks\.(\d+)\.(.+)\Z", path)
        if match is None:
            continue
        layer, inside = f"text_model.encoder.layers.{match[1]}", match[2]
        if inside in _OPEN_CLIP:
            yield f"{layer}.{_OPEN_CLIP[inside]}", entry
        elif inside == "attn.in_proj":
            yield from _split(entry, [f"{layer}.self_attn.{name}_proj" for name in "qkv"])
