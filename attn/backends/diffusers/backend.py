"""Opening a family's models: folders, files, hub ids, demo models, and loaded pipelines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline
from torch import nn

from attn import demo
from attn.backends.diffusers import adapters, components
from attn.backends.diffusers.session import DiffusersSession
from attn.backends.loading import pipeline
from attn.backends.loading import recipe as recipes
from attn.backends.loading import source as sources
from attn.backends.loading.devices import (
    align,
    choose_device,
    choose_dtype,
    count_parameters,
    dtype_name,
    switch_to_inference,
)
from attn.backends.loading.explain import explained
from attn.backends.loading.family import Family, part_overrides
from attn.backends.loading.fingerprints import fingerprint
from attn.backends.loading.quiet import quiet
from attn.backends.loading.recipe import Recipe
from attn.backends.loading.source import Source
from attn.backends.types import AUTOMATIC, Backend, ModelInfo, Placement, Session
from attn.checkpoints import folders
from attn.checkpoints.families import families, family_of, pipelines
from attn.engine.refuse import refuse_unobservable
from attn.errors import ModelError, UsageError
from attn.schema import Lora


class DiffusersBackend(Backend):
    """Opens folders, files, hub ids, demo models and pipelines that are loaded already.

    A family says in class attributes what its models are made of, and overrides the methods whose
    usual answer does not fit.
    """

    family: ClassVar[Family]
    """The parts, the denoiser first; an option of a part's name, if there is one, gives its file
    or folder."""
    pipelines: ClassVar[tuple[type[Any], ...]]
    """Classes of pipelines that the family's session runs."""
    session: ClassVar[type[DiffusersSession]]
    extra: ClassVar[dict[str, Any]] = {}
    """Further arguments of the pipeline's constructor."""

    def build_demo(self, dtype: torch.dtype, *, weights: bool) -> Any:
        """Build the pipeline that `demo` stands for, the same at every call.

        Called by a family whose demo is not shipped with `attn`, that is, by all but ours; without
        `weights` its networks may lie on the meta device.

        Returns:
            the pipeline; None where the demo is files that are shipped.
        """
        return None

    def recipe(self, source: Source, options: Any) -> Recipe:
        """Find everything that a model is made of; called once, before anything is loaded."""
        return recipes.collect(source, self.family, options)

    def pipeline_class(self, folder: Path) -> type[Any]:
        """Return the class that the `model_index.json` of a folder names, one of `pipelines`.

        Raises:
            ModelError: it names another.
        """
        name = folders.read_index(folder)["_class_name"]
        for cls in self.pipelines:
            if cls.__name__ == name:
                self._require_unet(name, folders.read_unet(folder), f"{folder}: ")
                return cls
        raise ModelError(f"{folder}: {_wrong_family(name, self)}")

    def _require_unet(self, pipeline: str, unet: Mapping[str, Any], where: str) -> None:
        """Refuse the UNet of another family that has the same pipelines.

        Raises:
            ModelError: says which field of its configuration tells.
        """
        files = families().get(self.family.name)
        for name, expected in files.unet.items() if files else ():
            if unet.get(name) != expected:
                other = family_of(pipeline, unet)
                hint = f"; use --backend {other}" if other != self.family.name else ""
                raise ModelError(
                    f"{where}this is no model of {self.family.name}: its UNet has {name} "
                    f"{unet.get(name)}, not {expected}{hint}"
                )

    def finish(self, session: DiffusersSession, recipe: Recipe | None) -> Session:
        """Let the family finish a session that was just made, and return it.

        Args:
            session: with its pipeline loaded.
            recipe: what that was loaded from; None of a pipeline that was loaded already.
        """
        return session

    def note_on_demo(self, model: str) -> str:
        """Return a remark for the user on the demo; see `Backend`."""
        name = sources.demo_name(model, self.family.name, self.variants)
        return demo.note(name) if self.family.name in demo.NAMES else self.demo_note

    def default_model(self, options: Any) -> str:
        """Return the denoiser that the options name, else the demo; see `Backend`."""
        overrides = part_overrides(self.family, options)
        denoiser = self.family.denoiser.name
        if overrides and denoiser not in overrides:
            raise UsageError(
                f"{', '.join(overrides)} of which model? give it with --model, "
                f"or its denoiser with --set {denoiser}=PATH"
            )
        return overrides.get(denoiser) or super().default_model(options)

    @property
    def lora_families(self) -> tuple[str, ...]:
        """Which LoRAs fit, as `attn.lora` names their family; the usual one first."""
        return self.session.lora_families

    def complete_loras(self, loras: Sequence[Lora]) -> tuple[Lora, ...]:
        """Check LoRA files for the family; see `Backend.complete_loras`."""
        return adapters.complete(loras, self.lora_families)

    def open(
        self, source: str | Path | object, options: Any, placement: Placement = AUTOMATIC
    ) -> Session:
        """Open a model; see `Backend.open`."""
        if isinstance(source, DiffusionPipeline):
            return self.adopt(source, options)
        if source == "demo" and self.family.name not in demo.NAMES:
            return self._open_demo(options, placement)
        origin = sources.resolve(str(source), self.family.name, self.variants)
        folders.refuse_scribble_diffusion(origin.path, self.family.name, origin.requested)
        return self.open_source(origin, options, placement)

    def open_source(self, origin: Source, options: Any, placement: Placement) -> Session:
        """Open a model that was found; see `Backend.open`."""
        device = choose_device(placement.device)
        kind = choose_dtype(placement.dtype, device)
        with explained(f"cannot open {origin.requested}"):
            recipe = self.recipe(origin, options)
            cls = self.pipeline_class(recipe.roots[0])
            pipe = pipeline.load_pipeline(
                recipe, cls, dtype=kind, weights=placement.weights, extra=self.extra
            )
            pipe.set_progress_bar_config(disable=True)
            if placement.weights:
                _move(pipe, device, placement.offload)
            denoiser = getattr(pipe, self.session.denoiser)
            components.refuse(denoiser)
            identity = fingerprint(recipe.files, origin.revision) if placement.weights else dict
            info = ModelInfo(
                origin.requested, identity, dtype_name(kind), count_parameters(denoiser)
            )
            session = self.session(pipe, info, options, device)
            session.warnings += recipe.warnings
            guide_demo(session, origin.requested, self.family.name)
            return self.finish(session, recipe)

    def adopt(self, pipe: Any, options: Any) -> Session:
        """Take a pipeline that is loaded already, as it is.

        Raises:
            ModelError: it is of another family, or options name files to load.
        """
        if not isinstance(pipe, self.pipelines):
            raise ModelError(_wrong_family(type(pipe).__name__, self) + _way_out(pipe))
        names = [part.name for part in self.family.parts]
        loading = [
            name
            for name in (*names, "config", "tokenizers")
            if getattr(options, name, None) is not None
        ]
        if loading:
            raise ModelError(
                f"this pipeline is loaded already; take away the options {', '.join(loading)}"
            )
        denoiser = getattr(pipe, self.session.denoiser)
        self._require_unet(type(pipe).__name__, denoiser.config, "")
        components.refuse(denoiser)
        refuse_unobservable(denoiser, self.session.denoiser)
        source = str(pipe.config.get("_name_or_path") or type(pipe).__name__)
        info = ModelInfo(source, dict, dtype_name(denoiser.dtype), count_parameters(denoiser))
        for part in pipe.components.values():
            if isinstance(part, nn.Module):
                switch_to_inference(part)
        return self.finish(self.session(pipe, info, options, str(pipe.device)), None)

    def _open_demo(self, options: Any, placement: Placement) -> Session:
        """Open the pipeline that the family builds for a demo."""
        device = choose_device(placement.device)
        kind = choose_dtype(placement.dtype, device)
        with quiet():
            pipe = self.build_demo(kind, weights=placement.weights)
        if pipe is None:
            raise ModelError(f"{self.family.name} has no demo model; give one with --model")
        pipe.set_progress_bar_config(disable=True)
        if placement.weights:
            _move(pipe, device, placement.offload)
        denoiser = getattr(pipe, self.session.denoiser)
        revision = f"demo of {self.family.name}"
        info = ModelInfo(
            "demo", lambda: {"revision": revision}, dtype_name(kind), count_parameters(denoiser)
        )
        return self.finish(self.session(pipe, info, options, device), None)


def guide_demo(session: DiffusersSession, model: str, family: str) -> None:
    """Let a trained demo model draw with its own guidance by default.

    Args:
        session: of any model.
        model: what the user typed for it.
        family: by whose name demo models are known.
    """
    guidance = demo.guidance(model.replace("demo", family, 1))
    if model.partition(":")[0] == "demo" and guidance:
        session.default_guidance = guidance


def _wrong_family(name: str, backend: DiffusersBackend) -> str:
    other = pipelines().get(name)
    hint = f"; use --backend {other}" if other else ""
    expected = " or ".join(cls.__name__ for cls in backend.pipelines)
    return f"this is a {name}, not a {expected}{hint}"


def _way_out(pipe: Any) -> str:
    """Explain how a loaded pipeline that no backend runs can be recorded."""
    layers = {"unet": "*.attn2", "transformer": "*.attn"}
    towers = [name for name in layers if name in getattr(pipe, "components", {})]
    if type(pipe).__name__ in pipelines() or not towers:
        return ""
    return (
        "; run it yourself to record it: with attn.tap("
        f"pipe.{towers[0]}, {layers[towers[0]]!r}) as tapped: pipe(…), then tapped.trace"
    )


def _move(pipe: Any, device: str, offload: str) -> None:
    if offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.to(device)
    if device == "cpu":
        for part in pipe.components.values():
            if isinstance(part, nn.Module):
                align(part)
