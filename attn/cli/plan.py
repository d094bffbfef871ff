"""What a capture would keep, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attn.wording import count_noun

if TYPE_CHECKING:
    from attn.engine.plan import Plan
    from attn.verbs.capture.capture import Captured


def describe(captured: Captured) -> str:
    """Describe what a capture would keep, and its size in bytes."""
    from rich import filesize

    if not captured.plans:  # a shard of fewer traces than shards, or all of its are refused
        return f"{count_noun(len(captured.entries), 'trace')}; nothing to make"
    plan = captured.plans[0]
    lines = [
        f"{count_noun(len(captured.entries), 'trace')} of {count_noun(plan.steps, 'step')}, "
        f"{count_noun(plan.samples, 'sample')}, branch {' and '.join(plan.branches)}",
        f"keep {plan.kept.level}, keys {plan.kept.keys}, blocks {', '.join(plan.kept.blocks)}",
        *_layer_lines(plan),
        *_concept_lines(plan),
        f"one trace: {filesize.decimal(plan.bytes)}; "
        f"in all {filesize.decimal(captured.predicted_bytes)}",
    ]
    if plan.kept.level == "factors":
        lines.append(
            f"all probabilities of these layers as float16: {filesize.decimal(plan.full_bytes)} a "
            "trace; factors pay where there are more than two keys per channel of a head"
        )
    return "\n".join(lines)


def _concept_lines(plan: Plan) -> list[str]:
    from rich import filesize

    from attn.engine.concepts.plans import concept_bytes

    reading = [entry.concepts for entry in plan.layers if entry.concepts is not None]
    if not reading:
        return []
    kept = "maps and keys" if any(of.keeps_keys for of in reading) else "maps"
    return [
        f"{kept} of {count_noun(len(reading[0].lengths), 'concept')} in "
        f"{count_noun(len(reading), 'layer')}: {filesize.decimal(concept_bytes(plan))} a trace"
    ]


def _layer_lines(plan: Plan) -> list[str]:
    lines = [f"{count_noun(len(plan.layers), 'layer')}:"]
    has_towers = len({entry.layer.tower for entry in plan.layers}) > 1  # which share paths
    for entry in plan.layers:
        layer = entry.layer
        grid = "x".join(map(str, layer.grid)) if layer.grid else "-"
        name = f"{layer.tower}:{layer.path}" if has_towers else layer.path
        lines.append(
            f"  {layer.index:>4}  {name}  {layer.kind}, {layer.num_heads} heads, "
            f"grid {grid}, {layer.num_keys} keys"
        )
    return lines
