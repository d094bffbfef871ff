"""Which layers keep maps of concepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from attn.engine.layer_plans import ConceptPlan
from attn.engine.plan import Plan
from attn.errors import RequestError
from attn.schema import LayerKey


def with_concepts(plan: Plan, modules: Mapping[LayerKey, str], lengths: Sequence[int]) -> Plan:
    """Return a plan in which the maps of concepts are kept, too.

    Args:
        plan: of what is kept else.
        modules: by layer, in order, the path of what is run again; see `Session.concept_modules`.
        lengths: positions of each concept's states; without concepts the plan is as it was.

    Raises:
        RequestError: nothing could be kept of them.
    """
    if not lengths:
        return plan
    if plan.kept.level == "mass":
        raise RequestError("concepts: --keep mass keeps no maps; give --keep means, or more")
    kept = {(entry.layer.tower, entry.layer.path): entry for entry in plan.layers if entry.blocks}
    concepts: dict[LayerKey, ConceptPlan] = {}
    before: list[str] = []
    for key, path in modules.items():
        is_stream = path != key[1]
        if key in kept:
            keeps_keys = plan.kept.level == "factors" and not is_stream
            concepts[key] = ConceptPlan(tuple(lengths), path, is_stream, tuple(before), keeps_keys)
            before.clear()
        elif is_stream:
            before.append(path)
    if not concepts:
        raise RequestError(
            "concepts: none of the kept layers reads the text for the picture; give other --layers"
        )
    layers = (
        replace(entry, concepts=concepts.get((entry.layer.tower, entry.layer.path)))
        for entry in plan.layers
    )
    return replace(plan, layers=tuple(layers))


def concept_bytes(plan: Plan) -> int:
    """Return how much of a trace's size in bytes is of concepts."""
    bare = tuple(replace(entry, concepts=None) for entry in plan.layers)
    return plan.bytes - replace(plan, layers=bare).bytes
