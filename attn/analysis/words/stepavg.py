"""The dump of sd3.5-attention-analysis: `stepavg_token_maps_v1.npz` and `metadata.json`.

With B samples, S steps, L layers, the finest grid of H × W and T text keys:

- sum_token_map              (B, H, W, T): sum over steps and layers of the head-mean probs.
- N                          S · L.
- per_block_step_token_mean  (B, L, S, T): the measure `share`.
- per_block_step_token_max   (B, L, S, T): the measure `share_max`.

Differences: steps are in generation order (there index 0 is the last step), which `metadata.json`
says under `step_order`; sums are taken in double precision and rounded once (there every addition
is rounded to half precision, which is off by up to 8 %); coarser grids are resampled by area, not
bilinearly; the shares lack the 1e-8 in the denominator; `negative_prompt` is what it was, not null;
`tokens` are those of the first text segment as its tokenizer spells them (`cat</w>`), up to the
padding, cut like the sequence; `timestamp` is when the trace was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attn.analysis.needs import Needs
from attn.analysis.result import Archive, Document, Result
from attn.analysis.words.select import select_tower
from attn.analysis.words.selection import BLOCK
from attn.schema import Layer, Segment, Token
from attn.trace.means import average
from attn.trace.store import written_at

if TYPE_CHECKING:
    from attn.trace.trace import Trace

NEEDS = Needs(
    segments=("image", "text"),
    measures=(f"map.{BLOCK}", f"share.{BLOCK}", f"share_max.{BLOCK}"),
    all_keys=True,
)


END = "</w>"
"""What CLIP's tokenizer writes at the end of a word."""
REBUILT = (
    "the trace does not say how its tokenizer spells the tokens, so that those of "
    f"metadata.json end in {END} where a word of the prompt does: capture again for the spelling"
)


@dataclass(frozen=True)
class StepMeansOptions:
    """What to export."""

    half: bool = field(
        default=True, metadata={"help": "float16, as there by default; no is float32"}
    )
    layers: tuple[str, ...] = field(
        default=(), metadata={"help": "7, 0-11, or a glob of the path; empty is the first tower"}
    )


def run(trace: Trace, options: StepMeansOptions) -> Result:
    """Export the first guidance row of a trace.

    Raises:
        AnalysisError: a layer is not there.
    """
    captured = [layer for layer in trace.layers if BLOCK in layer.blocks]
    layers = select_tower(captured, options.layers, captured=trace.layers)
    branch = trace.branches[0]
    count = len(layers) * len(trace.steps)
    means = average(trace, BLOCK, layers, None, branch)
    dtype = np.float16 if options.half else np.float32
    arrays = {
        "sum_token_map": means.values * count,
        "per_block_step_token_mean": _stack(trace, layers, "share"),
        "per_block_step_token_max": _stack(trace, layers, "share_max"),
    }
    kept: dict[str, NDArray[Any]] = {name: array.astype(dtype) for name, array in arrays.items()}
    kept["N"] = np.asarray(count, np.int32)
    about = _describe(trace, layers, arrays["sum_token_map"].shape)
    return Result(
        {},
        notes=() if _are_spelled(_first_tokens(trace)) else (REBUILT,),
        files={
            "stepavg/stepavg_token_maps_v1.npz": Archive(kept),
            "stepavg/metadata.json": Document(about),
        },
    )


def _stack(trace: Trace, layers: tuple[Layer, ...], measure: str) -> NDArray[np.float64]:
    """Return (sample, layer, step, key)."""
    read = [trace.measure(measure, layer.index, BLOCK).isel(branch=0) for layer in layers]
    return np.stack(
        [array.transpose("sample", "step", "key").values.astype(np.float64) for array in read],
        axis=1,
    )


def _describe(trace: Trace, layers: tuple[Layer, ...], shape: tuple[int, ...]) -> dict[str, Any]:
    manifest, request = trace.manifest, trace.manifest.request
    samples = manifest.samples
    first = _first_tokens(trace)
    return {
        "prompt": [request.prompt] * samples,
        "negative_prompt": [request.negative or ""] * samples,
        "seed": request.seed,
        "steps": len(trace.steps),
        "guidance_scale": request.guidance,
        "model_id": manifest.model.get("source"),
        "scheduler": request.scheduler,
        "image_size": [request.height, request.width],
        "canonical_size": list(shape[1:3]),
        "batch_size": samples,
        "num_steps": len(trace.steps),
        "num_blocks": len(layers),
        "blocks": [layer.path for layer in layers],
        "block_latent_sizes": {layer.path: list(layer.grid or ()) for layer in layers},
        "tokens": [_spell(first)] * samples,
        "T_from_model": shape[3],
        "special_mask": [[token.special for token in first]] * samples,
        "timestamp": trace.folder and f"{written_at(trace.folder):%Y-%m-%dT%H:%M:%SZ}",
        "step_order": "generation",
        "timesteps": [step.timestep for step in trace.steps],
        "segments": _spans(manifest.segments[trace.branches[0]]),
    }


def _first_tokens(trace: Trace) -> list[Token]:
    """Return the tokens of the first text segment without its padding."""
    tokens = trace.tokens(trace.branches[0])
    return [token for token in tokens if token.segment == tokens[0].segment and not token.padding]


def _are_spelled(tokens: Sequence[Token]) -> bool:
    return all(token.piece is not None for token in tokens)


def _spell(tokens: Sequence[Token]) -> list[str]:
    """Return tokens as their tokenizer does; else so that their reader finds the words."""
    if _are_spelled(tokens):
        return [token.piece or "" for token in tokens]
    spelled = []
    for token, word in zip(tokens, [*(token.word for token in tokens[1:]), None], strict=True):
        is_open = token.word is not None and token.word == word
        spelled.append(token.text if token.special or is_open else f"{token.text}{END}")
    return spelled


def _spans(segments: Sequence[Segment]) -> dict[str, list[int]]:
    """Return where each text segment starts and stops on the axis T."""
    spans: dict[str, list[int]] = {}
    stop = 0
    for segment in segments:
        if segment.kind == "text":
            start, stop = stop, stop + segment.length
            spans[segment.name] = [start, stop]
    return spans
