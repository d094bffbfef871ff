"""Refuse, before anything is generated, what could not be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attn.errors import AnalysisError, did_you_mean
from attn.words import find_words, fold, word_keys

if TYPE_CHECKING:
    from attn.analysis.compare.pairs import PairOptions
    from attn.engine.plan import Plan


def require_in_prompts(prompts: Sequence[str], options: PairOptions, negative: str) -> None:
    """Refuse prompts without words, and words that no prompt has, before anything is generated.

    Args:
        prompts: what is generated.
        options: what to compare.
        negative: the negative prompt, which the branch `uncond` reads instead.

    Raises:
        AnalysisError: names the first.
    """
    from attn.trace.words.occurrences import locate
    from attn.trace.words.prompts import divide

    read = prompts if options.branch == "cond" else [negative]
    names = (*(options.words or ()), *options.phrases)
    words = [divide(find_words(text), names) for text in read]
    if not any(words) and options.branch != "cond":
        raise AnalysisError("the negative prompt has no words; give one with --negative")
    if not any(words):
        texts = ", ".join(f"'{prompt}'" for prompt in prompts)
        raise AnalysisError(f"there is no word to compare in {texts}; give a prompt with words")
    phrases = [locate(prompt_words, options.phrases) for prompt_words in words]
    require_present(
        options,
        {
            "word": [word.text for prompt_words in words for word in prompt_words],
            "phrase": [phrase.text for prompt_phrases in phrases for phrase in prompt_phrases],
        },
    )


def require_in_plan(
    plan: Plan, options: PairOptions, parts: Sequence[str] | None, *, has_drawing: bool
) -> None:
    """Refuse what cannot be compared of traces as they are planned, before anything is generated.

    Args:
        plan: of a trace.
        options: what to compare.
        parts: what was asked for; None is all that can be made.
        has_drawing: whether the model is given one.

    Raises:
        AnalysisError: says what is missing, and what to capture with.
    """
    from attn.analysis.words.select import select_steps, select_tower
    from attn.analysis.words.selection import BLOCK
    from attn.schema import Step

    if options.branch not in plan.branches:
        kept = ", ".join(plan.branches)
        raise AnalysisError(
            f"compare.branch: '{options.branch}' is not captured, only {kept}: add --branch both"
        )
    layers = [
        entry.layer for entry in plan.layers if BLOCK in {block.name for block in entry.blocks}
    ]
    if not layers:
        raise AnalysisError(f"the traces will have no {BLOCK}: add --blocks {BLOCK}")
    select_tower(layers, options.layers)
    select_steps([Step(index, None, None) for index in range(plan.steps)], options.steps)
    requested = set(parts or ())
    level = plan.kept.level
    if requested & {"maps", "sketch"} and (level == "mass" or BLOCK not in plan.kept.blocks):
        raise AnalysisError(
            f"the traces will have no maps of {BLOCK}: leave out --keep and --blocks"
        )
    if requested & {"maps", "sketch"} and level == "means" and options.steps:
        raise AnalysisError("the traces will have no maps of single steps: add --keep maps")
    if "sketch" in requested and not has_drawing:
        raise AnalysisError("the model is given no drawing to compare with: leave out sketch")


def require_present(options: PairOptions, texts: Mapping[str, Sequence[str]]) -> None:
    """Refuse words and phrases that are not among the texts, given by kind."""
    words = {fold(text): text for text in texts["word"]}
    for kind, requested in (("word", options.words or ()), ("phrase", options.phrases)):
        there = {word_keys(text) for text in texts[kind]}
        for name in requested:
            if word_keys(name) not in there:
                hint = did_you_mean(fold(name), words)
                listed = ", ".join(words.values())
                raise AnalysisError(
                    f"the prompts do not share a {kind} '{name}'.{hint} Their words: {listed}."
                )
