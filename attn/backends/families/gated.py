"""SD3.5 with attention gates, as sd-scripts saves it: the parts of `sd35`, and hooks that gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from attn import demo
from attn.backends.diffusers.backend import guide_demo
from attn.backends.diffusers.session import DiffusersSession
from attn.backends.families.sd35 import SD35Backend, SD35Options, SD35Session
from attn.backends.loading import source as sources
from attn.backends.loading.recipe import Recipe
from attn.backends.loading.weights import gates as gating
from attn.backends.types import AUTOMATIC, OnCall, Placement, Session
from attn.errors import ModelError, RequestError
from attn.schema import Layer, Request, layer_matches
from attn.wording import list_some

SHOWN = 4
"""So many modules are named, more are counted."""


@dataclass(frozen=True)
class GatedOptions(SD35Options):
    """Options of SD3.5 with gates."""

    gate: bool = field(default=True, metadata={"help": "off runs the model without its gates"})
    gate_layers: tuple[str, ...] = field(
        default=(),
        metadata={"help": "gates act in these layers only: 7, 0-11, or a glob of the path"},
    )
    gate_type: Literal["auto", "headwise", "elementwise", "none"] = field(
        default="auto", metadata={"help": "refuse a model whose gates are not all of this type"}
    )


class GatedSession(SD35Session):
    """A loaded SD3.5 pipeline, with gates in the modules where its checkpoint has them."""

    def complete(self, request: Request) -> Request:
        """Also check which gates are asked for; see `Session.complete`."""
        request = super().complete(request)
        has_gates = {stream.path for stream in gating.gated(self.model)}
        layers = super().layers(request)
        for pattern in self.options.gate_layers:
            if not any(
                layer.path in has_gates and layer_matches(layer, pattern) for layer in layers
            ):
                indices = [str(layer.index) for layer in layers if layer.path in has_gates]
                where = f"in layers {', '.join(indices)} of 0 to {len(layers) - 1}"
                raise RequestError(
                    f"gate_layers: no layer with gates matches '{pattern}'; there are gates "
                    f"{where if indices else 'nowhere'}"
                )
        return request

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """Return the layers of `sd35` with the gates that act on them."""
        layers = super().layers(request)
        if not self.options.gate:
            return layers
        gates = {
            layer.path: tuple(
                gating.describe(stream)
                for stream in gating.gated(self.model)
                if stream.path == layer.path
            )
            for layer in layers
            if self._is_selected(layer)
        }
        return tuple(replace(layer, gates=gates.get(layer.path, ())) for layer in layers)

    def _is_selected(self, layer: Layer) -> bool:
        patterns = self.options.gate_layers
        return not patterns or any(layer_matches(layer, pattern) for pattern in patterns)

    @contextmanager
    def announced(self, requests: Sequence[Request], on_call: OnCall | None) -> Iterator[list[str]]:
        """Also gate; LoRAs are in the model by now."""
        acting = {gate.path for layer in self.layers(requests[0]) for gate in layer.gates}
        some = [stream for stream in gating.gated(self.model) if stream.path_of_gate in acting]
        with gating.applied(some), super().announced(requests, on_call) as noise:
            yield noise


class GatedBackend(SD35Backend):
    """Stable Diffusion 3.5 with attention gates."""

    Options = GatedOptions
    example_prompt = demo.example_prompt("gated")
    family = replace(SD35Backend.family, name="gated")
    session = GatedSession

    def open(
        self, source: str | Path | object, options: Any, placement: Placement = AUTOMATIC
    ) -> Session:
        """Open a model; the demo is files as sd-scripts saves them. See `Backend.open`."""
        if not isinstance(source, str) or source.partition(":")[0] != "demo":
            return super().open(source, options, placement)
        folder = sources.resolve(source, self.family.name, self.variants).path
        files = {name: str(folder / file) for name, file in demo.SPLIT_FILES.items()}
        missing = {name: path for name, path in files.items() if getattr(options, name) is None}
        session: Any = super().open(
            folder / demo.SPLIT_MODEL, replace(options, **missing), placement
        )
        guide_demo(session, source, self.family.name)
        session.info = replace(session.info, source=source)
        opened: Session = session
        return opened

    def finish(self, session: DiffusersSession, recipe: Recipe | None) -> Session:
        """Look at the gates, and tell of them; see `DiffusersBackend.finish`."""
        super().finish(session, recipe)
        streams = list(gating.streams(session.model))
        _require_kind(streams, session.options.gate_type)
        session.warnings += tuple(_remarks(streams, is_on=session.options.gate))
        return session


def _require_kind(streams: Sequence[gating.Stream], expected: str) -> None:
    """Refuse gates of another type than an option says.

    Raises:
        ModelError: names the first.
    """
    kinds = {stream.stem: stream.kind for stream in streams if stream.gate is not None}
    if expected == "none":
        wrong = next(iter(kinds.items()), None)
    elif expected == "auto":
        wrong = None
    else:
        others = ((stem, kind) for stem, kind in kinds.items() if kind != expected)
        wrong = next(others, None) if kinds else ("the model", "none")
    if wrong:
        raise ModelError(
            f"gate_type={expected}: {wrong[0]} has the gate type {wrong[1]}; gates are recognised "
            "by their shapes, so leave gate_type out"
        )


def _remarks(streams: Sequence[gating.Stream], *, is_on: bool) -> Iterator[str]:
    """Yield remarks for the user on a model's gates and whether they act."""
    having = [stream for stream in streams if stream.gate is not None]
    if not having:
        yield "this model has no gates: it runs as sd35 runs it"
        return
    acting = [stream for stream in streams if stream.projection is not None]
    without = [stream for stream in acting if stream.gate is None]
    if without:
        stems = (stream.stem for stream in having if stream.projection is not None)
        gated = list_some(stems, SHOWN)
        yield f"gates in {len(acting) - len(without)} of {len(acting)} places: {gated}"
    yield from _zero_remarks(having) if is_on else ()
    if any(stream.path.endswith(".attn2") for stream in streams):
        yield (
            "sd-scripts computes the second attention (attn2) of SD3.5 Medium with heads and head "
            "size exchanged (64 heads of 24); here it is as published (24 heads of 64), so a model "
            "that was trained in sd-scripts gives other pictures there than here"
        )


def _zero_remarks(having: Sequence[gating.Stream]) -> Iterator[str]:
    """Describe the gates that are as initialised: weight zero, deaf to any input."""
    constant: dict[float, list[str]] = {}
    for stream in having:
        value = gating.untouched(stream)
        if value is not None:
            constant.setdefault(round(value, 4), []).append(stream.stem)
    for value, stems in constant.items():
        yield (
            f"{len(stems)} of {len(having)} gates are untouched zeros, {value:g} for every input: "
            f"attention is multiplied by {value:g} there ({list_some(stems, SHOWN)}); "
            "--set gate=off takes the gates away"
        )
