"""The options of `attn analyze`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated

from attn.errors import UsageError
from attn.files.names import is_url, shown_url
from attn.verbs import checks, parsing
from attn.verbs.options import (
    About,
    Engine,
    Phrases,
    Pictures,
    Pooled,
    ReadShard,
    Sources,
    Told,
    Words,
    Workers,
    validate,
)
from attn.viz.sizes import DPI, LEAST, MOST


@dataclass(frozen=True)
class AnalyzeOptions:
    """What `attn analyze` takes."""

    path: Sources
    _: KW_ONLY
    words: Words = None
    phrases: Phrases = None
    topk: Annotated[int | None, About("Draw only the words of most mass.", least=1)] = None
    only: Annotated[
        str | Iterable[str] | None,
        About(
            "Only these analyses: NAME,NAME,…",
            python="Only these analyses; None is every one that can run, but those that run on "
            "request.",
            read=parsing.split,
            check=checks.texts,
        ),
    ] = None
    pooling: Pooled = None
    settings: Annotated[
        Mapping[str, str] | None,
        About(
            "ANALYSIS.KEY=VALUE, or KEY=VALUE of all that have it; repeat.",
            ("--set",),
            python="Options as {ANALYSIS.KEY: VALUE}, or {KEY: VALUE} of all that have such a one.",
            read=parsing.split_settings,
            check=checks.settings,
        ),
    ] = None
    pictures: Pictures = True
    figsize: Annotated[
        tuple[float, float] | None,
        About(
            "WIDTHxHEIGHT in inches that pictures are scaled to.",
            python="Width and height in inches that every page is scaled to, keeping its "
            "proportions; None leaves each as large as it is laid out.",
            read=parsing.parse_inches,
        ),
    ] = None
    dpi: Annotated[
        int, About("Pixels per inch of pictures, 20 to 600.", least=LEAST, most=MOST)
    ] = DPI
    out: Annotated[
        str | Path | None,
        About(
            "Folder of results; of a URL it must be given. [default: TRACE/analysis]",
            ("--out", "-o"),
            python="Folder of results; None is analysis in the trace. Of a collection, every trace "
            "has a folder of its own in it; of a URL it must be given.",
            check=checks.folder,
        ),
    ] = None
    shard: ReadShard = None
    workers: Workers = None
    engine: Engine = "local"
    report: Told = None

    def __post_init__(self) -> None:
        validate(self)
        if is_url(self.path) and self.out is None:
            raise UsageError(
                f"{shown_url(str(self.path))}: name a folder for the results with --out, since "
                "nothing is written where a URL leads"
            )
