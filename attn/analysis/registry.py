"""The analyses that there are, and which of them can run on a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attn.analysis import gates
from attn.analysis.needs import Lack, Needs, find_concern, find_lack
from attn.analysis.relations import readers
from attn.analysis.result import Result
from attn.analysis.sinks import sinks
from attn.analysis.sketch import sketch
from attn.analysis.texts import (
    blocks,
    flow,
    influence,
    matrices,
    patterns,
    report,
    similarity,
    unmasking,
)
from attn.analysis.words import concentration, concepts, curves, evolution, frames, stepavg, words
from attn.errors import AnalysisError, UsageError, did_you_mean

if TYPE_CHECKING:
    from attn.trace.trace import Trace

NOTHING = Needs()


@dataclass(frozen=True)
class Analysis:
    """One analysis.

    Attributes:
        name: what `--only` takes, and the prefix in `--set NAME.KEY=VALUE`.
        summary: one line for `attn analyze --list`.
        needs: without these it is skipped.
        Options: frozen dataclass; every field has a default and `metadata={"help": …}`.
        run: takes a trace and the options; changes no file.
        draw: `module:function` that turns (result, subject) into pictures, imported late.
        wants: what it does without, at the cost that `lost` names.
        lost: what is left out without `wants`.
        on_request: it runs only if it is named by `--only`.
        joins: names of tables of which a collection gets one with the rows of all traces.
    """

    name: str
    summary: str
    needs: Needs
    Options: type[Any]
    run: Callable[[Trace, Any], Result]
    draw: str | None = None
    wants: Needs = NOTHING
    lost: str = ""
    on_request: bool = False
    joins: tuple[str, ...] = ()


@dataclass(frozen=True)
class AnalysisPlan:
    """What runs on a trace; what is left out, and what of a running one, by its name.

    `offered` could run, but does only if it is asked for.
    """

    runnable: tuple[Analysis, ...]
    skipped: dict[str, Lack]
    reduced: dict[str, Lack]
    offered: tuple[str, ...] = ()


ANALYSES: tuple[Analysis, ...] = (
    Analysis(
        name="words",
        summary="where each word of the prompt is attended to, and how much",
        needs=words.NEEDS,
        Options=words.WordsOptions,
        run=words.run,
        draw="attn.viz.words.heatmaps:draw",
        wants=words.WANTS,
        lost="heatmaps and peaks",
        joins=("words_summary.csv", "phrases_summary.csv"),
    ),
    Analysis(
        name="frames",
        summary="where each word is attended to in each frame of a video, and how much",
        needs=frames.NEEDS,
        Options=frames.FramesOptions,
        run=frames.run,
        draw="attn.viz.words.frames:draw",
        joins=("frames.csv",),
    ),
    Analysis(
        name="text_to_image",
        summary="which places of the picture each word reads",
        needs=readers.IMAGE_NEEDS,
        Options=readers.ReadersOptions,
        run=readers.run_to_image,
        draw="attn.viz.words.readers:draw_images",
        joins=("readers.csv",),
    ),
    Analysis(
        name="text_to_text",
        summary="what the words of a prompt read of each other",
        needs=readers.TEXT_NEEDS,
        Options=readers.ReadersOptions,
        run=readers.run_to_text,
        draw="attn.viz.words.readers:draw_texts",
        joins=("pairs.csv",),
    ),
    Analysis(
        name="curves",
        summary="how the attention to each word changes over the steps, layer by layer",
        needs=curves.NEEDS,
        Options=curves.CurvesOptions,
        run=curves.run,
        draw="attn.viz.words.curves:draw",
        joins=("words_auc.csv", "words_stepavg.csv", "phrases_auc.csv", "phrases_stepavg.csv"),
    ),
    Analysis(
        name="sinks",
        summary="which keys receive much more than others, and what one token receives",
        needs=sinks.NEEDS,
        Options=sinks.SinksOptions,
        run=sinks.run,
        draw="attn.viz.sinks:draw",
        wants=sinks.WANTS,
        lost="sinks at image keys",
        joins=("sinks.csv", "roles.csv"),
    ),
    Analysis(
        name="gates",
        summary="what the gates of a gated model let through",
        needs=gates.NEEDS,
        Options=gates.GatesOptions,
        run=gates.run,
        draw="attn.viz.gates:draw",
        joins=("gates_summary.csv",),
    ),
    Analysis(
        name="sketch",
        summary="words against the strokes of a drawing, and how strongly it acts",
        needs=sketch.NEEDS,
        Options=sketch.SketchOptions,
        run=sketch.run,
        draw="attn.viz.sketch:draw",
        joins=("words.csv", "shapes.csv", "deviation.csv", "residuals.csv"),
    ),
    Analysis(
        name="concepts",
        summary="which of some words outside the prompt each place of the picture is closest to",
        needs=concepts.NEEDS,
        Options=concepts.ConceptsOptions,
        run=concepts.run,
        draw="attn.viz.words.concepts:draw",
        joins=("concepts.csv",),
    ),
    Analysis(
        name="concentration",
        summary="how concentrated each layer's and head's maps are, and follow the picture",
        needs=concentration.NEEDS,
        Options=concentration.ConcentrationOptions,
        run=concentration.run,
        on_request=True,
        joins=("layers.csv",),
    ),
    Analysis(
        name="evolution",
        summary="one word's map at every step, as GIF and grid; active tokens, text and sketch",
        needs=evolution.NEEDS,
        Options=evolution.EvolutionOptions,
        run=evolution.run,
        draw="attn.viz.words.evolution:draw",
        on_request=True,
    ),
    Analysis(
        name="stepavg",
        summary="the files of sd3.5-attention-analysis' dump, for its own scripts",
        needs=stepavg.NEEDS,
        Options=stepavg.StepMeansOptions,
        run=stepavg.run,
        on_request=True,
    ),
    Analysis(
        name="unmasking",
        summary="when each position of a text was decided, and what it read then",
        needs=unmasking.NEEDS,
        Options=unmasking.Options,
        run=unmasking.run,
        draw="attn.viz.texts.texts:draw_unmasking",
    ),
    Analysis(
        name="flow",
        summary="what prompt and text read of each other",
        needs=flow.NEEDS,
        Options=flow.FlowOptions,
        run=flow.run,
        draw="attn.viz.texts.texts:draw_flow",
    ),
    Analysis(
        name="blocks",
        summary="what the prompt and the blocks of a text read of each other while each is written",
        needs=blocks.NEEDS,
        Options=blocks.Options,
        run=blocks.run,
        draw="attn.viz.texts.texts:draw_blocks",
    ),
    Analysis(
        name="patterns",
        summary="entropy, density, focus, distance and causal split of a text's attention",
        needs=patterns.NEEDS,
        Options=patterns.Options,
        run=patterns.run,
        draw="attn.viz.texts.texts:draw_patterns",
    ),
    Analysis(
        name="matrices",
        summary="a text's attention matrices as pictures, and the strongest pairs of tokens",
        needs=matrices.NEEDS,
        Options=matrices.MatricesOptions,
        run=matrices.run,
        draw="attn.viz.texts.matrices:draw",
        wants=matrices.WANTS,
        lost="pictures of single heads",
    ),
    Analysis(
        name="influence",
        summary="which tokens of prompt and text are read most, and which are sinks",
        needs=influence.NEEDS,
        Options=influence.InfluenceOptions,
        run=influence.run,
        draw="attn.viz.texts.texts:draw_influence",
    ),
    Analysis(
        name="similarity",
        summary="how alike the layers of a language model read",
        needs=similarity.NEEDS,
        Options=similarity.Options,
        run=similarity.run,
        draw="attn.viz.texts.texts:draw_similarity",
    ),
    Analysis(
        name="report",
        summary="the JSON reports of MMaDA's attention visualisation, for its readers",
        needs=report.NEEDS,
        Options=report.TextReportOptions,
        run=report.run,
        wants=report.WANTS,
        lost="causal split of single heads",
    ),
)


def find(name: str) -> Analysis:
    """Return the analysis of that name.

    Raises:
        UsageError: there is none.
    """
    by_name = {analysis.name: analysis for analysis in ANALYSES}
    if name not in by_name:
        hint = did_you_mean(name, by_name)
        raise UsageError(f"unknown analysis '{name}'.{hint} There is: {', '.join(by_name)}.")
    return by_name[name]


def plan(trace: Trace, only: Iterable[str] | None = None) -> AnalysisPlan:
    """Decide which analyses run.

    Args:
        trace: what was captured.
        only: names to choose from; None is all that are about this kind of model, but those that
            run on request.

    Raises:
        UsageError: a name is unknown.
        AnalysisError: one that was named cannot run, or none can.
    """
    if not trace.steps:
        raise AnalysisError(f"{trace.folder} has no finished step: capture it again")
    offered: tuple[str, ...] = ()
    if only is None:
        concerns = find_concern(trace.manifest)
        about = [analysis for analysis in ANALYSES if concerns(analysis.needs)]
        requested = tuple(analysis for analysis in about if not analysis.on_request)
        offered = tuple(
            analysis.name
            for analysis in about
            if analysis.on_request and not find_lack(analysis.needs, trace.manifest)
        )
    else:
        requested = tuple(find(name) for name in dict.fromkeys(only))
    lacks = {analysis.name: find_lack(analysis.needs, trace.manifest) for analysis in requested}
    skipped = {name: lack for name, lack in lacks.items() if lack}
    runnable = tuple(analysis for analysis in requested if analysis.name not in skipped)
    if skipped and (only is not None or not runnable):
        reasons = "; ".join(f"'{name}' needs {lack}" for name, lack in skipped.items())
        raise AnalysisError(f"cannot analyse {trace.folder}: {reasons}")
    wants = {analysis.name: find_lack(analysis.wants, trace.manifest) for analysis in runnable}
    reduced = {name: lack for name, lack in wants.items() if lack}
    return AnalysisPlan(runnable, skipped, reduced, offered)
