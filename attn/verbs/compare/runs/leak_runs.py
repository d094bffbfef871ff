"""`attn compare --leak`: the same variants from the prompts without the LoRA's trigger words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from attn.errors import AttnError, UsageError
from attn.files.disk import remove_parts, write_atomic
from attn.schema import UNCOND
from attn.verbs.capture.capture import parse_prompts
from attn.verbs.compare.controls.leak import LEAK, SCHEMA
from attn.verbs.compare.controls.triggers import moved_words, require_triggers, without_words
from attn.verbs.compare.options import CompareOptions
from attn.verbs.compare.runs.variant_runs import (
    WITHOUT,
    Generated,
    Required,
    Sessions,
    Setting,
    generate_variants,
)
from attn.verbs.compare.sweeps import find_sweep
from attn.verbs.report import Report

Plan = Sequence[tuple[str, str, Mapping[str, Any]]]


def add_leak(
    done: Generated,
    setting: Setting,
    plan: Plan,
    options: CompareOptions,
    told: tuple[Report, Sessions],
) -> Generated:
    """Generate the baseline and the LoRAs once more, without the trigger words.

    The traces go to `without` in the folder of the comparison, beside `leak.json`, which says which
    words were left out of which prompts. Prompts that have none of them are left out.

    Args:
        done: what was generated with them.
        setting: of that.
        plan: label, folder and LoRAs of the baseline and of the variants that are no controls.
        options: of the comparison.
        told: the report, and the sessions that were generated with.

    Returns:
        In a dry run what would be generated in all; else what is there with the trigger words.

    Raises:
        AttnError: see `attn.capture`; the traces with the trigger words stay.
    """
    report, sessions = told
    triggers = tuple(options.trigger or ())
    if not triggers and not options.dry_run:
        triggers = _moved(done, plan)
        if not triggers:
            report.warn("leak: the LoRA moves no word; say which are its own with --trigger W,…")
            return done
        report.note(f"leak: without {', '.join(triggers)}")
    typed = {prompt: without_words(prompt, triggers) for prompt in done.prompts}
    changed = {
        prompt: without for prompt, without in typed.items() if prompt != without or not triggers
    }
    try:
        require_triggers(_parsed(setting, list(changed)), triggers)
        made = generate_variants(
            replace(setting, prompts=tuple(dict.fromkeys(changed.values()))),
            plan,
            done.path / WITHOUT,
            report,
            Required(lambda prompts: None, lambda plan: None),
            sessions,
        )
    except AttnError as error:
        raise type(error)(
            f"{error} (the traces with the trigger words can be used: attn compare "
            f"{' '.join(str(of.path) for of in done.captured.values())})"
        ) from error
    if options.dry_run:
        more = {f"{label} without": plans for label, plans in made.captured.items()}
        return replace(done, captured={**done.captured, **more})
    pairs = zip(*(_parsed(setting, list(of)) for of in (changed, changed.values())), strict=True)
    facts = {"schema": SCHEMA, "triggers": triggers, "prompts": dict(pairs)}
    text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
    write_atomic(made.path / LEAK, text.encode())
    remove_parts(made.path / LEAK)
    return done


def refuse_lone_options(options: CompareOptions) -> None:
    """Refuse what is about a leak where none is looked for.

    Raises:
        UsageError: says what to do.
    """
    if options.trigger is not None and not options.leak:
        raise UsageError("trigger says which words --leak leaves out; add --leak")
    if options.leak and options.shard is not None and options.trigger is None:
        raise UsageError(
            "leak leaves out the words that moved most, which one shard does not know; name them "
            "with --trigger W,…"
        )
    if options.leak and options.branch == UNCOND:
        raise UsageError("leak leaves words out of the prompt, which --branch uncond does not read")


def _parsed(setting: Setting, prompts: Sequence[str]) -> list[str]:
    """Return prompts without the syntax that they are in, as traces name them."""
    return [prompt.text for prompt in parse_prompts(setting.capture, prompts)[0]]


def _moved(done: Generated, plan: Plan) -> tuple[str, ...]:
    """Return the words that were moved most, of a sweep at the point that is told of."""
    from attn.analysis.compare.pairs import PairOptions
    from attn.verbs.compare.variants import compare_traces

    labels = {label for label, *_ in plan}
    runs = [run for run in done.runs() if run.label in labels]
    options = PairOptions()
    variants = compare_traces(runs, options)
    sweep = find_sweep(variants, options)
    if sweep is not None:
        variants = tuple(of for of in variants if of.label == sweep.told.label)
    return moved_words(variants, options)
