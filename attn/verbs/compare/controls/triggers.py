"""Trigger words of a LoRA: prompts without them, and which words they may be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attn.errors import AnalysisError, did_you_mean
from attn.words import find_spans, find_words, fold, is_content

if TYPE_CHECKING:
    from attn.analysis.compare.changes import TermChange
    from attn.analysis.compare.pairs import PairOptions
    from attn.verbs.compare.variants import Variant

MOVED = 0.5
"""A word belongs to those that moved most from this part of the largest change on."""
_TAG = re.compile(r"<[^<>]*>")


def without_words(prompt: str, words: Sequence[str]) -> str:
    """Return a prompt without some words, and without the spaces and commas that they leave.

    Args:
        prompt: as it was typed; names in `<…>`, as of LoRAs in A1111's syntax, are no words.
        words: each one word, or several in a row.
    """
    there = find_words(_TAG.sub(lambda tag: " " * len(tag[0]), prompt))
    spans = sorted((span for word in words for span in find_spans(there, word)), reverse=True)
    text = prompt
    for start, stop in spans:
        text = text[:start] + text[stop:]
    text = re.sub(r"\s+", " ", text) if spans else text
    text = re.sub(r"\s+(?=[,.;:!?)])", "", text)
    return re.sub(r"([,;])(?:\s*[,;])+", r"\1", text).strip(" ,;") if spans else prompt


def require_triggers(prompts: Sequence[str], triggers: Sequence[str]) -> None:
    """Refuse trigger words that are in no prompt, or all that a prompt has.

    Raises:
        AnalysisError: says which, and what can be named.
    """
    words = {fold(word.text): word.text for prompt in prompts for word in find_words(prompt)}
    for trigger in triggers:
        if not any(find_spans(find_words(prompt), trigger) for prompt in prompts):
            listed = ", ".join(f"'{prompt}'" for prompt in prompts[:2])
            raise AnalysisError(
                f"trigger: '{trigger}' is not in {listed}.{did_you_mean(fold(trigger), words)} "
                f"Give a prompt with it, or --trigger one of: {', '.join(words.values())}"
            )
    for prompt in prompts:
        if not find_words(without_words(prompt, triggers)):
            raise AnalysisError(
                f"trigger: nothing is left of '{prompt}' without {', '.join(triggers)}; give a "
                "longer prompt, or fewer words"
            )


def moved_words(variants: Sequence[Variant], options: PairOptions) -> tuple[str, ...]:
    """Return the words that variants moved most: of each its leading word, and those close to it.

    These are the content words of at least half of its change, whose interval leaves 0 out.
    """
    from attn.analysis.compare.changes import changes, headline, mass, overall

    words: dict[str, str] = {}
    for variant in variants:
        entries = changes(variant.pairs, overall(mass), options.words)
        lead = headline(entries)
        if lead is not None and lead.change.change != 0:
            near = [entry for entry in entries if _is_near(entry, lead)]
            words |= {fold(entry.term.text): entry.term.text for entry in (lead, *near)}
    return tuple(words.values())


def _is_near(entry: TermChange, lead: TermChange) -> bool:
    from attn.analysis.compare.changes import is_clear

    is_word = entry.term.kind == "word" and is_content(entry.term.text)
    size, most = (abs(float(of.change.change)) for of in (entry, lead))
    return is_word and is_clear(entry) and size >= MOVED * most
