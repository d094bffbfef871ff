"""What is odd about a LoRA file, in sentences, and what keeps backends from loading it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import median

from attn.lora.adapters import CONFIG, Adapter
from attn.lora.changes.deltas import DELTAS
from attn.lora.changes.kinds import KINDS, MAGNITUDES
from attn.lora.families import claimed
from attn.lora.file import LoraFile, Module, Oddity, counted, is_finite
from attn.lora.names import DENOISER, embedding_word, underscored
from attn.wording import count_noun, list_some

LARGE = 20.0
"""A change is large if its root mean square is this many times the median of its tower."""

FEWEST = 5
"""Modules that a median is taken of at least."""


TOLD = ("assumed_alpha", "embeddings", "idle")
"""Kinds of oddities that whoever draws with the file is warned of."""


def find_oddities(lora: LoraFile) -> tuple[Oddity, ...]:
    """Return everything that is odd, what breaks the file first."""
    return tuple(oddity for check in _CHECKS for oddity in check(lora))


def obstacles(lora: LoraFile, adapters: Mapping[str, Adapter]) -> dict[str, tuple[str, ...]]:
    """Return why no backend can load a file, each with its modules or tensors.

    Args:
        lora: the file.
        adapters: peft's configurations by tower.
    """
    modules: dict[str, list[str]] = {}
    for module in lora.modules:
        for reason in _obstacles(module, adapters.get(module.tower)):
            modules.setdefault(reason, []).append(module.name)
    reasons = {f"{_are(len(names))} {reason}": tuple(names) for reason, names in modules.items()}
    is_bare = any(m.rank is not None and "alpha" not in m.roles for m in lora.modules)
    if is_bare and (names := tuple(name for name in lora.unknown if _STRENGTH.search(name))):
        number = count_noun(len(names), "tensor")
        reasons[f"{number} may be a strength, under a name that is not read"] = names
    if len(lora.adapters) > 1:
        reasons[f"{_adapters_told(lora)}: choose one, as in FILE:adapter={lora.adapters[-1]}"] = ()
    return reasons


_STRENGTH = re.compile(r"(?:alpha|scale|scaling)(?:\.[\w-]+)?\Z", re.IGNORECASE)


def _changes_something(module: Module) -> bool:
    """Whether a module changes its weight, or has what no norm is computed of."""
    is_beside = not {*MAGNITUDES, "bias", "diff_b"}.isdisjoint(module.roles)
    return module.norm is None or bool(is_finite(module.norm) and module.norm) or is_beside


def _obstacles(module: Module, adapter: Adapter | None) -> Iterator[str]:
    title = KINDS[module.kind].title
    if module.kind not in DELTAS:
        yield f"{title}, which is not applied: how far it turns depends on how it was trained"
    if module.unread:
        ends = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in module.unread))
        yield f"{title} with tensors that its formula does not read ({ends})"
    if module.is_dora and "bias" in module.roles:
        yield "DoRA with a bias of its second factor, which peft does not have"
    if adapter is not None and module.spelling == "peft":
        if adapter.obstacle:
            yield f"configured with {adapter.obstacle}"
        if adapter.is_dora and not module.is_dora:
            yield "configured with use_dora, but without magnitudes"
        if adapter.kind.lower() != module.kind:
            yield f"{title}, but configured as {adapter.kind}"
    if module.problem is not None:
        yield "damaged"
    if _is_not_finite(module):
        yield "broken by NaN or infinity"


def _are(number: int) -> str:
    return f"{count_noun(number, 'module')} {'is' if number == 1 else 'are'}"


def _damaged(lora: LoraFile) -> Iterator[Oddity]:
    for module in lora.modules:
        if module.problem:
            kind = "missing_pair" if " without " in module.problem else "wrong_shape"
            yield Oddity(kind, f"{module.name} {module.problem}", (module.name,))


def _unknown(lora: LoraFile) -> Iterator[Oddity]:
    if lora.unknown:
        number = count_noun(len(lora.unknown), "tensor")
        yield Oddity("unknown_tensors", f"{number} that no LoRA has", tuple(lora.unknown))


def _unread(lora: LoraFile) -> Iterator[Oddity]:
    names = tuple(name for module in lora.modules for name in module.unread)
    if names:
        number = count_noun(len(names), "tensor")
        yield Oddity("unread_tensors", f"{number} that no formula of the module reads", names)


def _biases(lora: LoraFile) -> Iterator[Oddity]:
    names = _names(lora, lambda m: not {"bias", "diff_b", "b_norm"}.isdisjoint(m.roles))
    if names:
        message = (
            f"{count_noun(len(names), 'module')} with a change of the bias, which no norm counts"
        )
        yield Oddity("biases", message, names)


def _embeddings(lora: LoraFile) -> Iterator[Oddity]:
    words = dict.fromkeys(filter(None, map(embedding_word, lora.embeddings)))
    for word in words:
        names = tuple(name for name in lora.embeddings if embedding_word(name) == word)
        number = count_noun(len(names), "tensor")
        message = (
            f"{number} of an embedding for the word '{word}', which is not read: in a prompt "
            f"'{word}' is an ordinary word"
        )
        yield Oddity("embeddings", message, names)


def _adapters(lora: LoraFile) -> Iterator[Oddity]:
    if len(lora.adapters) > 1:
        yield Oddity("adapters", _adapters_told(lora), lora.adapters)


def _adapters_told(lora: LoraFile) -> str:
    names = [name or "one without a name" for name in lora.adapters]
    return f"the file holds {len(names)} adapters ({', '.join(names)})"


def _without_alpha(lora: LoraFile) -> Iterator[Oddity]:
    """Tell of factors without alpha where something says that there was another than the rank."""
    bare = [m for m in lora.modules if m.rank is not None and m.alpha is None]
    said = _number(lora.metadata.get("ss_network_alpha"))
    others = [] if said is None else [module for module in bare if module.rank != said]
    if said is not None and others:
        why = (
            f"though ss_network_alpha says {said:g}: if that was not multiplied in, the right "
            f"scale is {said / (others[0].rank or 1):g}"
        )
    elif "lora_adapter_metadata" in lora.metadata:
        others, why = bare, "the file's lora_adapter_metadata has none that is read for them"
    elif lora.config_sha256 is not None:
        others, why = bare, f"{CONFIG} beside the file is read for peft's names alone"
    elif any(module.name.startswith("base_model.model.") for module in bare):
        others, why = bare, f"peft keeps it in {CONFIG}, which is not beside the file"
    if others:
        number = count_noun(len(others), "module")
        message = f"{number} without alpha, which means the rank; {why}"
        yield Oddity("assumed_alpha", message, tuple(module.name for module in others))


def _number(text: object) -> float | None:
    try:
        number = float(str(text))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _duplicated(lora: LoraFile) -> Iterator[Oddity]:
    seen: dict[tuple[str | None, ...], list[str]] = {}
    for module in lora.modules:
        key = module.tower, underscored(module.path), module.adapter
        seen.setdefault(key, []).append(module.name)
    names = [name for same in seen.values() if len(same) > 1 for name in same]
    names += lora.repeated
    if names:
        message = f"{count_noun(len(names), 'name')} for modules that are there under another too"
        yield Oddity("duplicated", message, tuple(names))


def _mixed_naming(lora: LoraFile) -> Iterator[Oddity]:
    paths = [underscored(m.path) for m in lora.modules if m.tower == DENOISER]
    old = [path for path in paths if path.startswith(("input_", "middle_", "output_blocks_"))]
    new = [path for path in paths if path.startswith(("down_blocks_", "mid_", "up_blocks_"))]
    if old and new:
        message = (
            f"{count_noun(len(old), 'module')} with blocks named as in LDM (input_blocks) beside "
            f"{len(new)} named as in diffusers (down_blocks); loaders use one of both"
        )
        yield Oddity("mixed_naming", message, tuple(old if len(old) < len(new) else new))


def _not_finite(lora: LoraFile) -> Iterator[Oddity]:
    names = _names(lora, _is_not_finite)
    if names:
        yield Oddity(
            "not_finite", f"{count_noun(len(names), 'module')} with NaN or infinity", names
        )


def _is_not_finite(module: Module) -> bool:
    has_norm = module.norm is not None
    return not math.isfinite(module.scale) or (has_norm and not is_finite(module.norm))


def _zero_alpha(lora: LoraFile) -> Iterator[Oddity]:
    names = _names(lora, lambda m: m.scale == 0)
    if names:
        message = f"{count_noun(len(names), 'module')} with alpha 0, which takes all effect away"
        yield Oddity("zero_alpha", message, names)


def _untrained(lora: LoraFile) -> Iterator[Oddity]:
    names = _names(lora, lambda m: m.norm == 0 and m.scale != 0)
    if names:
        message = f"{count_noun(len(names), 'module')} of zeros, as before training: no effect"
        yield Oddity("untrained", message, names)


def _idle(lora: LoraFile) -> Iterator[Oddity]:
    if not any(map(_changes_something, lora.modules)):
        yield Oddity("idle", "nothing is changed: all modules are zero, as before training")


def _large(lora: LoraFile) -> Iterator[Oddity]:
    if lora.base is not None:
        names = _names(lora, lambda m: (m.relative or 0) > 1)
        if names:
            message = f"{count_noun(len(names), 'module')} changed by more than their own weight"
            yield Oddity("large", message, names)
    limits = _limits(lora.modules)
    names = _names(lora, lambda m: (_spread(m) or 0) > limits[m.tower])
    if names:
        what = f"{count_noun(len(names), 'module')} with numbers over {LARGE:g} times as large"
        yield Oddity("large", f"{what} as the median of the tower", names)


def _limits(modules: Sequence[Module]) -> dict[str, float]:
    spreads: dict[str, list[float]] = {module.tower: [] for module in modules}
    for module in modules:
        if spread := _spread(module):
            spreads[module.tower].append(spread)
    return {
        tower: LARGE * median(values) if len(values) >= FEWEST else math.inf
        for tower, values in spreads.items()
    }


def _spread(module: Module) -> float | None:
    """Return the root mean square of a change's elements, if it is known and finite."""
    if module.shape is None or module.norm is None or not is_finite(module.norm):
        return None
    return module.norm / math.sqrt(max(math.prod(module.shape), 1))


def _mixed_ranks(lora: LoraFile) -> Iterator[Oddity]:
    ranks = counted(module.rank for module in lora.modules if module.rank is not None)
    if len(ranks) > 1:
        shown = list_some((f"{rank} ({number})" for rank, number in ranks.items()), 6)
        yield Oddity("mixed_ranks", f"{len(ranks)} ranks: {shown}")


def _unmeasured(lora: LoraFile) -> Iterator[Oddity]:
    for reason in dict.fromkeys(module.unmeasured for module in lora.modules if module.unmeasured):
        names = tuple(module.name for module in lora.modules if module.unmeasured == reason)
        number = "norm" if len(names) == 1 else f"{len(names)} norms"
        yield Oddity("unmeasured", f"{number} not computed, which {reason}", names)
    names = _names(lora, _lacks_base)
    if names:
        why = (
            "are not in the base model" if lora.base is not None else "need the base model: --model"
        )
        number = count_noun(len(names), "module")
        yield Oddity("unmeasured", f"the norms of {number} {why}", names)


def _lacks_base(module: Module) -> bool:
    """Whether a norm is unknown, though nothing is wrong and it would not take long."""
    is_fine = module.problem is None and module.unmeasured is None
    return module.norm is None and is_fine and module.kind in DELTAS


def _dora(lora: LoraFile) -> Iterator[Oddity]:
    names = _names(lora, lambda m: m.is_dora)
    if names:
        number = count_noun(len(names), "module")
        message = f"{number} with a magnitude (DoRA): norms are of the change without it"
        yield Oddity("dora", message, names)


def _other_family(lora: LoraFile) -> Iterator[Oddity]:
    said = claimed(lora.metadata)
    if said and lora.family.name and said.name != lora.family.name:
        message = f"{said.evidence[0]}, but its modules are those of {lora.family.title}"
        yield Oddity("other_family", message)


def _changed(lora: LoraFile) -> Iterator[Oddity]:
    said = lora.metadata.get("sshs_model_hash")
    if isinstance(said, str) and said and not lora.weights_sha256.startswith(said.lower()):
        message = "its weights are not those that its trainer saved: sshs_model_hash differs"
        yield Oddity("changed_weights", message)


def _missing(lora: LoraFile) -> Iterator[Oddity]:
    reasons: dict[str, list[str]] = {}
    missing = {} if lora.base is None else lora.base.missing
    for name in (module.name for module in lora.modules if module.name in missing):
        reason = missing[name].partition(" (")[0]  # without the shapes
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        number = count_noun(len(names), "module")
        yield Oddity("not_in_model", f"{number} without a base weight: {reason}", tuple(names))


def _names(lora: LoraFile, is_odd: Callable[[Module], bool]) -> tuple[str, ...]:
    return tuple(module.name for module in lora.modules if is_odd(module))


_CHECKS: tuple[Callable[[LoraFile], Iterable[Oddity]], ...] = (
    _damaged,
    _not_finite,
    _unread,
    _unknown,
    _adapters,
    _without_alpha,
    _embeddings,
    _duplicated,
    _mixed_naming,
    _zero_alpha,
    _untrained,
    _idle,
    _missing,
    _large,
    _other_family,
    _changed,
    _unmeasured,
    _biases,
    _dora,
    _mixed_ranks,
)
