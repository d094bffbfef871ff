"""What is particular to SD3.5 with gates: a gate per head on every attention, first mostly open.

All else is the recipe of the medium model, but only gates are trained, and the projections that
they lead to. What is trained is saved as the weights of `sd35` are, and the gates beside them; the
demo model is made of both as sd-scripts saves such models, in one file for transformer and VAE and
one for each encoder.
"""

from __future__ import annotations

from dataclasses import replace

from diffusers import StableDiffusion3Pipeline
from torch import Tensor, nn

from attn.backends.loading.weights import gates
from benchmarks.training import sd35

BIAS = 2.0
"""Of a fresh gate, as sd-scripts begins: sigmoid(2) = 0.88.

There its weight is 0; here it is random: from 0 it had hardly moved after 1,000 steps."""


def prepare(pipeline: StableDiffusion3Pipeline) -> None:
    """Begin where `sd35` ended, with gates that let most of everything through."""
    sd35.go_on(pipeline)
    for stream in gates.streams(pipeline.transformer):
        linear = nn.Linear(stream.attention.to_q.in_features, stream.attention.heads)
        nn.init.constant_(linear.bias, BIAS)
        gates.put(stream, linear)
    gates.apply(gates.gated(pipeline.transformer))


def take_out(model: nn.Module) -> dict[str, Tensor]:
    """Take the gates out of a transformer; return them by the names of their attention.

    Args:
        model: any; nothing is taken out of other models.
    """
    result = {}
    for stream in list(gates.streams(model)) if hasattr(model, "transformer_blocks") else ():
        if stream.gate is not None:
            linear = stream.gate[0]
            result[f"{stream.stem}.weight"] = linear.weight.detach()
            result[f"{stream.stem}.bias"] = linear.bias.detach()
    for module in list(model.modules()):
        if isinstance(getattr(module, "gates", None), nn.ModuleDict):
            del module.gates
    return result


HEADWISE = replace(
    sd35.MEDIUM, name="gated", prepare=prepare, rate=2e-3, learns=r"gates\.|\.to_(add_)?out"
)
