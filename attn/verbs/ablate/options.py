"""The options of `attn ablate`: what is cut, and how the pictures are generated."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated

from attn.verbs import checks
from attn.verbs.ablate.scan import Scan
from attn.verbs.capture.options import BackendName, Cuts, Prompt, Settings, VariantOptions
from attn.verbs.options import About, Pictures, Told, Words

FACTOR = -2.0
"""As head relevance vectors are checked."""
POINTS = 5


@dataclass(frozen=True)
class AblateOptions(VariantOptions):
    """What `attn ablate` takes."""

    backend: BackendName
    prompt: Prompt = None
    _: KW_ONLY
    cut: Annotated[
        Cuts,
        About(
            "A word, padding, sketch, sinks:3, 'head 4.2', 'layer up.*', each with "
            "@layers=…,steps=0-9,noise=0.3-1; each --cut is a variant.",
            python="What is cut: texts as on the command line, or schema.Intervention; each is a "
            "variant.",
            check=checks.unchecked,
        ),
    ] = None
    scan: Annotated[
        Scan | None,
        About(
            "A variant for each of the heads, layers, blocks or steps: that is cut, or in it what "
            "--cut says."
        ),
    ] = None
    weaken: Annotated[
        str | Path | None,
        About(
            "Folder of a --scan heads: its heads are weakened, a few, then more, the most relevant "
            "first, and then the least.",
            check=checks.folder,
        ),
    ] = None
    factor: Annotated[float, About("What --weaken multiplies the probabilities of a head by.")] = (
        FACTOR
    )
    points: Annotated[
        int, About("How many numbers of heads --weaken tries in each order.", least=1)
    ] = POINTS
    random: Annotated[
        int | None,
        About(
            "Controls of each: so many times, as much cut at random. [default: 1; 0 with --scan]",
            least=0,
        ),
    ] = None
    forming: Annotated[
        bool,
        About(
            "",
            python="Keep how each picture formed; the comparison does not read it.",
            is_typed=False,
        ),
    ] = False
    words: Words = None
    settings: Settings = None
    pictures: Pictures = True
    out: Annotated[
        str | Path | None,
        About(
            "Folder of results. [default: attn-runs/DATE-BACKEND-ablate-PROMPT]",
            ("--out", "-o"),
            check=checks.folder,
        ),
    ] = None
    resume: Annotated[bool, About("Go on with the ablation in --out.")] = False
    report: Told = None
