"""`attn ablate`: cut a part of the attention, and see whether that does what its map says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from attn.errors import RequestError, UsageError
from attn.schema import Intervention, name_layers
from attn.verbs.ablate.cuts import Spec, parse_cut
from attn.verbs.ablate.options import AblateOptions
from attn.verbs.ablate.scan import CutVariant, scan_cuts
from attn.verbs.ablate.weaken import read_ranking, weaken_cuts
from attn.verbs.capture.capture import capture_with, choose_prompts
from attn.verbs.capture.folders import name_folders
from attn.verbs.capture.options import read_prompt
from attn.verbs.compare.compare import made_in_part, parse, planned, refuse_folder
from attn.verbs.compare.compared import Compared
from attn.verbs.compare.pairing import FOLDER
from attn.verbs.compare.requirements import require_in_plan, require_in_prompts
from attn.verbs.compare.results import ComparedSources, compare_runs
from attn.verbs.compare.runs.variant_runs import (
    BASE,
    RESERVED,
    Required,
    Sessions,
    Setting,
    choose_setting,
    generate_variants,
)
from attn.verbs.options import takes
from attn.verbs.report import Report

WHOLE = "all.all"
"""A block that all layers have."""

if TYPE_CHECKING:
    from attn.analysis.compare.pairs import PairOptions
    from attn.engine.plan import Plan


@takes(AblateOptions)
def ablate(options: AblateOptions) -> Compared:
    """Cut parts of a model's attention, each from the same noise, and compare: `attn ablate`.

    The traces go to one folder per variant in `out`, the results to `comparison` in it, as those of
    `attn.compare`; `tables["cuts.csv"]` holds each cut against its random controls.

    Args:
        options: see `AblateOptions`.

    Raises:
        UsageError: an argument is wrong in itself.
        RequestError: a cut matches nothing, or all keys of a row.
        AttnError: see `attn.capture`; what was finished stays on disk.
    """
    report = options.report or Report()
    is_told = options.scan is not None or options.weaken is not None
    cuts = _read_cuts(options.cut, needed=not is_told)
    if options.weaken is not None:
        cuts = _weakened(cuts, options)
    selection = parse(options.words, None, None, {})
    refuse_folder(options.out, report)
    require = Required(
        partial(require_in_prompts, options=selection, negative=options.negative or ""),
        partial(_require_pictures, selection),
    )
    settings = dict(options.settings or {})
    setting = choose_setting(options.backend, options, settings, require)
    prompts = choose_prompts(
        read_prompt(setting.capture, options.prompt), setting.model, setting.family, report
    )
    setting = replace(setting, prompts=prompts, verb="ablate")
    sessions = Sessions(setting)
    if options.scan:
        plan = _plan_of(setting, sessions)
        layers = [entry.layer for entry in plan.layers]
        every = _plan_of(setting, sessions, layers=None, blocks=WHOLE, keep="mass").layers
        names = name_layers(entry.layer for entry in every)
        cuts = scan_cuts(options.scan, cuts, layers, plan.steps, names)
    variants = [
        variant
        for cut in cuts
        for variant in _with_controls(cut, options, setting, sessions, report)
    ]
    made = generate_variants(setting, _plan(variants), options.out, report, require, sessions)
    if options.dry_run:
        return planned(made, report)
    if options.shard is not None:
        return made_in_part(made, options.shard, report)
    return compare_runs(
        *(made.runs(), selection, None, made.path / FOLDER),
        pictures=options.pictures,
        report=report,
        sources=ComparedSources(),
    )


def _read_cuts(specs: Spec | Sequence[Spec] | None, *, needed: bool) -> list[CutVariant]:
    """Return the cuts that were asked for, as they were typed.

    Args:
        specs: texts, or the cuts themselves.
        needed: whether there must be one.

    Raises:
        UsageError: one is none, or there twice; or none is there.
    """
    listed = [specs] if isinstance(specs, str | Intervention) else list(specs or ())
    variants = [
        CutVariant(spec.strip() if isinstance(spec, str) else spec.text, (parse_cut(spec),))
        for spec in listed
    ]
    if not variants and needed:
        raise UsageError("cut: nothing is named; give a word, padding, sinks:3 or 'head 4.2'")
    for index, variant in enumerate(variants):
        if variant.cut in [of.cut for of in variants[:index]]:
            raise UsageError(f"cut: {variant.name} is named twice; leave one out")
    return variants


def _weakened(cuts: Sequence[CutVariant], options: AblateOptions) -> list[CutVariant]:
    """Return a variant for each number of heads, most and least relevant first.

    Raises:
        UsageError: something else asks for variants, too.
        RequestError: there is no scan of heads.
    """
    if options.scan is not None or options.random:
        raise UsageError("weaken: the other order is the control; leave out --scan and --random")
    ranking = read_ranking(options.weaken or "")
    return weaken_cuts(ranking, cuts, options.factor, options.points)


def _with_controls(
    variant: CutVariant,
    options: AblateOptions,
    setting: Setting,
    sessions: Sessions,
    report: Report,
) -> Iterator[CutVariant]:
    """Yield a cut, then its controls, as far as the model can do them.

    Raises:
        RequestError: the cut cannot be done.
    """
    _require_possible(variant, setting, sessions)
    yield variant
    if variant.cut.target.random is not None:
        return
    alone = options.scan or options.weaken
    controls = (0 if alone else 1) if options.random is None else options.random
    for seed in range(controls):
        cuts = tuple(replace(cut, target=replace(cut.target, random=seed)) for cut in variant.cuts)
        control = CutVariant(variant.name, cuts)
        try:
            _require_possible(control, setting, sessions)
        except RequestError as error:
            report.warn(f"{variant.name} has no random control: {error}")
            return
        yield control


def _require_possible(variant: CutVariant, setting: Setting, sessions: Sessions) -> None:
    """Raise, before anything is generated, if a cut can be done for none of the prompts.

    Raises:
        RequestError: says why.
    """
    _plan_of(setting, sessions, cut=variant.cuts)


def _plan_of(setting: Setting, sessions: Sessions, **changes: Any) -> Plan:
    """Return what would be captured of the first seed.

    Raises:
        RequestError: a cut cannot be done.
    """
    changes |= {
        "prompt": setting.prompts,
        "prompts": None,
        "seed": setting.capture.seeds[0],
        "model": sessions.shared({}),
        "dry_run": True,
        "resume": False,
        "shard": None,
    }
    return capture_with(replace(setting.capture, **changes, report=Report())).plans[0]


def _plan(variants: Sequence[CutVariant]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return label, folder and cuts of everything that is generated, the baseline first."""
    folders = name_folders([variant.label for variant in variants], RESERVED)
    labels = [
        folder if variant.label == BASE else variant.label
        for variant, folder in zip(variants, folders, strict=True)
    ]
    cuts = [{"cut": variant.cuts} for variant in variants]
    return [(BASE, BASE, {"cut": None}), *zip(labels, folders, cuts, strict=True)]


def _require_pictures(options: PairOptions, plan: Plan) -> None:
    """Raise, before anything is generated, if there would be nothing to compare.

    Raises:
        RequestError: words are to be looked at, but the model draws nothing.
        AnalysisError: what is kept does not say how words are read.
    """
    queries = (segment for entry in plan.layers for segment in entry.layer.queries)
    if any(segment.kind == "image" for segment in queries):
        require_in_plan(plan, options, None, has_drawing=False)
    elif options.words:
        raise RequestError(
            "words chooses among maps of words, but this model writes a text, of which all "
            "positions are compared; leave it out"
        )
