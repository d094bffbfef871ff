"""Names of tensors in LoRA files: which module they change, and what of the change they are.

Four spellings are in use. kohya joins a prefix and the module's path by underscores
(`lora_unet_mid_block_…_to_q.lora_down.weight`); peft and diffusers keep the path's dots and end in
`lora_A.weight` or `lora.down.weight`; the fourth keeps the dots and has kohya's endings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from attn.checkpoints.headers import TensorInfo

DENOISER = "denoiser"
TOWERS = (DENOISER, "text_encoder", "text_encoder_2", "text_encoder_3")
"""Parts of a pipeline that a LoRA can change, in the order of reports."""


@dataclass(frozen=True)
class TensorChange:
    """The tensors of one module, as they are named.

    Attributes:
        name: what the tensors' names have in common.
        spelling: `kohya`, `peft`, `diffusers` or `dotted`.
        tower: one of `TOWERS`.
        path: the module inside its tower; kohya's has underscores where the model has dots.
        adapter: peft's name of the adapter, where it stands in the tensors' names.
        tensors: by role: `down`, `up`, `mid`, `alpha`, `hada_w1_a`, ….
        names: of these tensors in the file, by role.
        repeated: names of tensors whose role was taken already.
        strays: names of tensors of this module that are no role.
    """

    name: str
    spelling: str
    tower: str
    path: str
    adapter: str | None = None
    tensors: dict[str, TensorInfo] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)


def changes(tensors: Mapping[str, TensorInfo]) -> tuple[list[TensorChange], list[str]]:
    """Sort the tensors of a file by the module that they change.

    Returns:
        The modules in the order of their first tensors, and the names that no LoRA has.
    """
    collected: _TensorChanges = {}
    rest = []
    for name, info in tensors.items():
        ending = _ending(name)
        if ending is None:
            rest.append(name)
        else:
            _add(collected, ending, name, info)
    vectors = [name for name in rest if _is_vector(name, collected)]
    for name in vectors:
        _add(
            collected,
            _Ending(name.removesuffix(".weight"), "weight", "dotted"),
            name,
            tensors[name],
        )
    merged = _with_adapters(collected.values())
    owners = {change.name: change for change in merged}
    unowned = []
    for name in rest:
        owner = _owner(name, owners)
        if owner is None:
            unowned.append(name)
        elif name not in vectors:
            owner.strays.append(name)
    return merged, unowned


_EMBEDDING = re.compile(r"bundle_emb\.([^.]+)\.")


def embedding_word(name: str) -> str | None:
    """Return the word that an embedding inside of a LoRA file is for; None for another tensor."""
    match = _EMBEDDING.match(name)
    return match[1] if match else None


def underscored(path: str) -> str:
    """Return a module's path as kohya spells it."""
    return path.replace(".", "_")


@dataclass(frozen=True)
class _Ending:
    """A tensor's name, taken apart; `style` is what the ending says of the spelling."""

    stem: str
    role: str
    style: str
    adapter: str | None = None


_TensorChanges = dict[tuple[str, str | None], TensorChange]
"""Changes by what their tensors' names have in common, and the adapter's name."""

_ADAPTER = r"(?:\.(?P<adapter>(?!weight\Z)[\w-]+))?"
"""Peft may write the adapter's name between lora_A and weight."""
_PATTERNS: tuple[tuple[str, str, str], ...] = (
    (r"\.lora_down\.weight", "down", "dotted"),
    (r"\.lora_up\.weight", "up", "dotted"),
    (r"\.lora_mid\.weight", "mid", "dotted"),
    (r"\.lora_up\.bias", "bias", "dotted"),
    (rf"\.lora_A(?:{_ADAPTER}\.weight)?", "down", "peft"),
    (rf"\.lora_B(?:{_ADAPTER}\.weight)?", "up", "peft"),
    (rf"\.lora_B{_ADAPTER}\.bias", "bias", "peft"),
    (rf"\.lora_magnitude_vector{_ADAPTER}(?:\.weight)?", "magnitude", "peft"),
    (r"(?:[._]lora|\.lora_linear_layer)\.down\.weight", "down", "diffusers"),
    (r"(?:[._]lora|\.lora_linear_layer)\.up\.weight", "up", "diffusers"),
    (r"(?<=_lora\d)\.down\.weight", "down", "diffusers"),  # XLabs: two streams, lora1 and lora2
    (r"(?<=_lora\d)\.up\.weight", "up", "diffusers"),
)
_PLAIN = frozenset(
    (
        *("alpha", "dora_scale", "diff", "diff_b", "w_norm", "b_norm", "on_input"),
        *("oft_blocks", "oft_diag", "rescale", "hada_t1", "hada_t2", "lokr_t1", "lokr_t2"),
        *("lokr_w1", "lokr_w2", "ia3_l", "boft_R", "boft_s"),
        *(f"{kind}_w{n}_{side}" for kind in ("hada", "lokr") for n in "12" for side in "ab"),
    )
)
_WEIGHTS = frozenset(f"{name}.weight" for name in ("a1", "a2", "b1", "b2", "bm", "oft_R"))
_COMPILED = [(re.compile(rf"(?:{end})\Z"), role, style) for end, role, style in _PATTERNS]


def _ending(name: str) -> _Ending | None:
    stem, _, last = name.rpartition(".")
    if stem and last in _PLAIN:
        return _Ending(stem, last, "dotted")
    stem, _, before = stem.rpartition(".")
    if stem and f"{before}.{last}" in _WEIGHTS:
        return _Ending(stem, before, "dotted")
    for pattern, role, style in _COMPILED:
        match = pattern.search(name)
        if match and match.start():
            return _Ending(name[: match.start()], role, style, match.groupdict().get("adapter"))
    return None


def _add(collected: _TensorChanges, ending: _Ending, name: str, info: TensorInfo) -> None:
    key = ending.stem, ending.adapter
    change = collected.get(key)
    if change is None or (change.spelling == "dotted" and ending.style != "dotted"):
        collected[key] = change = _described(ending, change)
    if ending.role in change.tensors:
        change.repeated.append(name)
    else:
        change.tensors[ending.role], change.names[ending.role] = info, name


def _described(ending: _Ending, before: TensorChange | None) -> TensorChange:
    """Parse a name; `before` holds the spelling shown by earlier ambiguous endings."""
    stem = ending.stem
    old = (before.tensors, before.names, before.repeated) if before else ({}, {}, [])
    named = (ending.adapter, *old)
    for prefix, tower in _UNDERSCORED.items():
        if stem.startswith(prefix):
            return TensorChange(stem, "kohya", tower, stem.removeprefix(prefix), *named)
    tower, path = _dotted(stem.removeprefix(_WRAPPED))
    path = _modern(tower, path) if ending.style == "diffusers" else path
    style = "peft" if stem.startswith(_WRAPPED) else ending.style
    return TensorChange(stem, style, tower, path, *named)


_WRAPPED = "base_model.model."  # peft's own classes around the model
_UNDERSCORED = {
    "lora_unet_": DENOISER,
    "lora_transformer_": DENOISER,
    "lora_prior_unet_": DENOISER,
    "oft_unet_": DENOISER,
    "lycoris_": DENOISER,
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_3",
}
_DOTTED = {
    "unet.": DENOISER,
    "transformer.": DENOISER,
    "diffusion_model.": DENOISER,
    "model.diffusion_model.": DENOISER,
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
    "text_encoder_3.": "text_encoder_3",
    "text_encoders.clip_l.transformer.": "text_encoder",
    "text_encoders.clip_g.transformer.": "text_encoder_2",
    "text_encoders.t5xxl.transformer.": "text_encoder_3",
    "clip_l.": "text_encoder",
    "clip_g.": "text_encoder_2",
    "t5xxl.": "text_encoder_3",
}


_BARE = {
    "text_model.": "text_encoder",
    "encoder.layers.": "text_encoder",  # CLIP in newer transformers
    "encoder.block.": "text_encoder_3",  # T5
}
"""How paths in text encoders begin, where nothing says which part of a model they are of."""


def _dotted(stem: str) -> tuple[str, str]:
    for prefix, tower in _DOTTED.items():
        if stem.startswith(prefix):
            return tower, stem.removeprefix(prefix).removeprefix(_WRAPPED)
    return next((tower for path, tower in _BARE.items() if stem.startswith(path)), DENOISER), stem


def _modern(tower: str, path: str) -> str:
    """Return the module's own path where early diffusers named the attention processor's."""
    path = path.replace(".processor.", ".")
    if tower == DENOISER:
        return re.sub(r"\.to_out\Z", ".to_out.0", path)
    return re.sub(r"\.to_(q|k|v|out)\Z", r".\1_proj", path)


def of_adapter(changes: Sequence[TensorChange], adapter: str) -> list[TensorChange]:
    """Return the changes of one adapter, with what of its modules bears no adapter's name."""
    named = {change.name: change for change in changes if change.adapter == adapter}
    plain = (change for change in changes if change.adapter is None and change.name in named)
    beside = (
        change for change in plain if named[change.name].tensors.keys().isdisjoint(change.tensors)
    )
    return _with_adapters((*named.values(), *beside))


def _with_adapters(collected: Iterable[TensorChange]) -> list[TensorChange]:
    """Give tensors without an adapter's name, such as alpha, to the one adapter of their module."""
    of: dict[str, list[TensorChange]] = {}
    for change in collected:
        of.setdefault(change.name, []).append(change)
    return [change for changes in of.values() for change in _joined(changes)]


def _joined(changes: list[TensorChange]) -> list[TensorChange]:
    named = [change for change in changes if change.adapter is not None]
    plain = next((change for change in changes if change.adapter is None), None)
    if plain is None or len(named) != 1 or plain.tensors.keys() & named[0].tensors.keys():
        return changes
    (change,) = named
    return [
        replace(
            change,
            tensors={**change.tensors, **plain.tensors},
            names={**change.names, **plain.names},
            repeated=[*change.repeated, *plain.repeated],
            strays=[*change.strays, *plain.strays],
        )
    ]


def _owner(name: str, owners: Mapping[str, TensorChange]) -> TensorChange | None:
    """Return the module that a tensor of no known role belongs to: its name begins the tensor's."""
    stem = name.rpartition(".")[0]
    while stem and stem not in owners:
        stem = stem.rpartition(".")[0]
    return owners.get(stem)


def _is_vector(name: str, collected: _TensorChanges) -> bool:
    """Whether this is the vector of an (IA)³ module, whose name says nothing by itself."""
    change = collected.get((name.removesuffix(".weight"), None))
    return name.endswith(".weight") and change is not None and "on_input" in change.tensors
