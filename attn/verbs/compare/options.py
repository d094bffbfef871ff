"""The options of `attn compare`: what is compared, and how it is generated if it is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, ParamSpec, Protocol, cast, overload

from attn.choices import Pooling
from attn.verbs import checks, parsing
from attn.verbs.capture.drawings import Drawing
from attn.verbs.capture.options import Loras, Prompt, VariantOptions
from attn.verbs.options import About, Phrases, Pictures, Pooled, Told, Words, describe

if TYPE_CHECKING:
    from attn.verbs.compare.compared import Compared
    from attn.verbs.report import Report

P = ParamSpec("P")


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions:
    """What is compared with what."""

    lora: Annotated[
        Loras,
        About(
            "Instead of runs: generate without and with FILE, FILE:SCALE, by part "
            "FILE:unet=0.8,te=0.4, a stack A+B, a sweep FILE:0,0.5,1, modules FILE@up.2, a folder "
            "of epochs or a 'glob'; demo is the demo's own; each --lora is a variant.",
            check=checks.unchecked,
        ),
    ] = None
    sketch: Annotated[
        Drawing | Sequence[Drawing] | None,
        About(
            "Instead of runs: generate with each drawing: FILE, none, or a sweep over the "
            "conditioning scale FILE:0,0.5,1; the first is the baseline.",
            python="Instead of runs: generate with each drawing: a file, an image of Pillow, none, "
            "or a sweep over the conditioning scale, FILE:0,0.5,1; the first is the baseline.",
            check=checks.unchecked,
        ),
    ] = None
    backend: Annotated[
        str | None,
        About("Model family. [default: that of the LoRAs]", ("--backend", "-b"), check=checks.text),
    ] = None
    prompt: Prompt = None
    words: Words = None
    phrases: Phrases = None
    only: Annotated[
        str | Iterable[str] | None,
        About(
            "Only these: words, layers, heads, steps, sinks, maps, images, sketch.",
            read=parsing.split,
            check=checks.texts,
        ),
    ] = None
    pooling: Pooled = None
    settings: Annotated[
        Mapping[str, str] | None,
        About(
            "compare.KEY=VALUE, or KEY=VALUE of the backend; repeat.",
            ("--set",),
            python="Further options as {compare.KEY: VALUE}, and {KEY: VALUE} of the backend.",
            read=parsing.split_settings,
            check=checks.settings,
        ),
    ] = None
    pictures: Pictures = True
    out: Annotated[
        str | Path | None,
        About(
            "Folder of results. [default: attn-runs/DATE-compare-PROMPT]",
            ("--out", "-o"),
            check=checks.folder,
        ),
    ] = None
    report: Told = None


@dataclass(frozen=True, kw_only=True)
class ControlOptions:
    """What is generated beside LoRAs, to hold against them."""

    null: Annotated[
        bool, About("Also random changes of the LoRA's size: is its effect more than theirs?")
    ] = False
    leak: Annotated[
        bool, About("Also the prompts without the trigger words: does the LoRA act without them?")
    ] = False
    trigger: Annotated[
        str | Iterable[str] | None,
        About(
            "The LoRA's trigger words, for --leak. [default: those that moved most]",
            python="The trigger words, for leak; None is those that moved most.",
            read=parsing.split,
            check=checks.names,
        ),
    ] = None
    by_block: Annotated[
        bool, About("Also the LoRA in each of its blocks alone, and in all blocks but one.")
    ] = False
    leave_one_out: Annotated[bool, About("Also each stack A+B without each of its LoRAs.")] = False


@dataclass(frozen=True, kw_only=True)
class CompareOptions(VariantOptions, ControlOptions, ComparisonOptions):
    """What `attn compare` takes beside runs."""

    resume: Annotated[bool, About("Go on with the comparison in --out.")] = False


class Comparing(Protocol[P]):
    """How `attn.compare` is called: with runs, or with what to generate."""

    @overload
    def __call__(
        self,
        *runs: str | Path,
        words: str | Iterable[str] | None = None,
        phrases: str | Iterable[str] | None = None,
        only: str | Iterable[str] | None = None,
        pooling: Pooling | None = None,
        settings: Mapping[str, str] | None = None,
        pictures: bool = True,
        out: str | Path | None = None,
        shard: str | None = None,
        workers: int | None = None,
        engine: Literal["local", "ray"] = "local",
        report: Report | None = None,
    ) -> Compared: ...

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Compared: ...


def takes_runs(
    options: Callable[P, CompareOptions],
) -> Callable[[Callable[..., Compared]], Comparing[P]]:
    """Let a function of runs and options be called with each option by name."""

    def decorate(verb: Any) -> Comparing[P]:
        describe(verb, options)
        return cast("Comparing[P]", verb)

    return decorate
