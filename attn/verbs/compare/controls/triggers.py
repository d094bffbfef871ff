"""Trigger words of a LoRA: prompts without them, and which words they may be."""

from __future__ import annotations

import math
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
    """Return the words that variants moved most, as a part of what they had, as triggers are rare.

    These are, of each variant, the content word of largest relative change, and those of at least
    half of it; only words whose interval leaves 0 out, if there are any.
    """
    from attn.analysis.compare.changes import changes, is_clear, mass, overall

    words: dict[str, str] = {}
    for variant in variants:
        entries = changes(variant.pairs, overall(mass), options.words)
        content = [of for of in entries if of.term.kind == "word" and is_content(of.term.text)]
        clear = list(filter(is_clear, content))
        sizes = [(_relative(of), of.term.text) for of in clear or content]
        most = max(sizes, default=(0.0, ""))[0]
        words |= {fold(text): text for size, text in sizes if most and size >= MOVED * most}
    return tuple(words.values())


def _relative(entry: TermChange) -> float:
    """Return the size of a relative change; 0 where there was nothing before."""
    size = abs(float(entry.change.relative))
    return size if math.isfinite(size) else 0.0
