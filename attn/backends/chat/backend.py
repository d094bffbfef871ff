"""Open language models: each is one network in a folder, beside its tokenizer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from attn import demo
from attn.backends.loading import source as sources
from attn.backends.loading.devices import (
    align,
    choose_device,
    choose_dtype,
    count_parameters,
    dtype_name,
)
from attn.backends.loading.fingerprints import fingerprint
from attn.backends.loading.hub import download_language_model
from attn.backends.loading.source import Source
from attn.backends.types import AUTOMATIC, Backend, ModelInfo, Placement, Session
from attn.checkpoints.folders import CONFIG
from attn.errors import ModelError
from attn.files.disk import is_folder


@dataclass(frozen=True)
class ModelFolder:
    """A language model on this machine, and how it is wanted.

    Attributes:
        origin: its folder, and where that came from.
        other_tokenizer: folder of the tokenizer that an option names, or None.
        dtype: of every weight.
        device: where it runs.
        weights: False reads configuration and tokenizer only.
    """

    origin: Source
    other_tokenizer: Path | None
    dtype: torch.dtype
    device: str
    weights: bool

    @property
    def path(self) -> Path:
        """The folder of the model."""
        return self.origin.path

    @property
    def tokenizer(self) -> Path:
        """The folder of the tokenizer."""
        return self.other_tokenizer or self.path

    def place(self, model: Any) -> None:
        """Move a network that has its weights to where it runs."""
        if self.weights:
            model.to(self.device)
            if self.device == "cpu":
                align(model)

    def describe(self, model: Any, others: Mapping[str, Path] | None = None) -> ModelInfo:
        """Return what is known of the network, its files identified in the background.

        Args:
            model: the network.
            others: files that are read besides, by name.
        """
        files = {} if self.origin.revision else {"": self.path}
        read = {"tokenizer": self.other_tokenizer} if self.other_tokenizer else {}
        if read := read | dict(others or {}):
            files = {"model": self.path, **read}
        identity = fingerprint(files, self.origin.revision) if self.weights else dict
        name = dtype_name(self.dtype)
        return ModelInfo(self.origin.requested, identity, name, count_parameters(model))


class TextBackend(Backend):
    """A family of language models, whose options have `tokenizer`."""

    name: ClassVar[str]
    """Of the family, as `--backend` takes it."""

    def open(
        self, source: str | Path | object, options: Any, placement: Placement = AUTOMATIC
    ) -> Session:
        """Find a model's folder and open it; see `Backend.open`."""
        if placement.offload != "none":
            raise ModelError("this model is one network, so there is no part to offload")
        if not isinstance(source, str | Path):
            raise ModelError(f"expected a folder or a hub id, not a {type(source).__name__}")
        if str(source).partition(":")[0] == "demo" and self.name not in demo.NAMES:
            self.default_model(options)  # which says that there is none
        origin = sources.resolve(
            source,
            self.name,
            expected=f"a folder with {CONFIG}",
            download=partial(download_language_model, weights=placement.weights),
        )
        if not is_folder(origin.path):
            raise ModelError(
                f"{origin.path} is a file; give the folder with {CONFIG}, {origin.requested}"
            )
        tokenizer = sources.existing(options.tokenizer, "tokenizer") if options.tokenizer else None
        target = choose_device(placement.device)
        return self.open_folder(
            ModelFolder(
                origin, tokenizer, choose_dtype(placement.dtype, target), target, placement.weights
            ),
            options,
        )

    @abstractmethod
    def open_folder(self, folder: ModelFolder, options: Any) -> Session:
        """Open a model that was found.

        Raises:
            ModelError: it is not of this family, or weights are missing or unexpected.
        """
