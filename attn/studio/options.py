"""The options of `attn studio`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from attn.verbs import checks
from attn.verbs.options import About, validate
from attn.verbs.view_options import LOOPBACK, AllowHost, Browser, Host, Port

RUNS = "attn-runs"


@dataclass(frozen=True, kw_only=True)
class StudioOptions:
    """What can be generated, where it goes, and who may look."""

    backend: Annotated[
        str | None,
        About(
            "Family of the first page. [default: one that reads drawings]",
            ("--backend", "-b"),
            check=checks.text,
        ),
    ] = None
    model: Annotated[
        str | Path | None,
        About(
            "Model of that family, beside its demo: file, folder or hub id.",
            ("--model", "-m"),
            check=checks.source,
        ),
    ] = None
    model_dir: Annotated[
        str | Path | None,
        About("Models to choose from: files and folders in DIR.", check=checks.folder),
    ] = None
    lora_dir: Annotated[
        str | Path | None, About("LoRAs to choose from: files in DIR.", check=checks.folder)
    ] = None
    out: Annotated[
        str | Path,
        About("Folder of all runs, each in one of its own.", ("--out", "-o"), check=checks.folder),
    ] = RUNS
    port: Port = None
    host: Host = LOOPBACK
    allow_host: AllowHost = ()
    browser: Browser = True

    def __post_init__(self) -> None:
        validate(self)
