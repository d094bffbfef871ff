"""What a word of a prompt is, and how a word or phrase that a user types is found in it."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise

MARK, FORMAT = "\u0301", "\u00ad"
"""Stand for every mark or joiner, and for every other format character, while words are found."""
JOINERS = "\u200c\u200d"
ZERO_WIDTH_SPACE = "\u200b"  # a format character, too, but it parts words
_PART = rf"\w(?:[\w{MARK}{FORMAT}]*[\w{MARK}])?"
WORD = re.compile(rf"{_PART}(?:['’-]{_PART})*")
BREAK = "\n"
"""Stands for whatever is between two words."""
UNSPACED = (
    "CJK",
    "IDEOGRAPHIC",
    "HIRAGANA",
    "KATAKANA",
    "HALFWIDTH KATAKANA",
    "BOPOMOFO",
    "YI ",
    "THAI",
    "LAO",
    "KHMER",
    "MYANMAR",
    "TIBETAN",
    "TAI ",
    "NEW TAI ",
    "JAVANESE",
    "BALINESE",
)
"""How Unicode's names of letters begin in scripts that put no space between words."""


@dataclass(frozen=True)
class Word:
    """One occurrence of a word in the prompt, with its character offsets."""

    index: int
    text: str
    start: int
    stop: int


def find_words(prompt: str) -> tuple[Word, ...]:
    """Return every word occurrence of a prompt, in order.

    A word is letters, digits and `_`, with the marks and joiners that follow them, and with other
    format characters, apostrophes and hyphens between them. In scripts without spaces it is all
    that is written without one.

    Source: Unicode Standard Annex 29, rule WB4: what extends a letter is never parted from it.
    """
    matches = WORD.finditer("".join(_simplify(character) for character in prompt))
    return tuple(
        Word(index, prompt[match.start() : match.end()], match.start(), match.end())
        for index, match in enumerate(matches)
    )


def word_at(words: Seq[Word], start: int, stop: int) -> int | None:
    """Return the index of the word that shares most characters with `[start, stop)`, or None."""
    first = bisect_right(words, start, key=lambda word: word.stop)
    last = bisect_left(words, stop, key=lambda word: word.start)
    near = words[first:last]  # words come in order
    shared = [(min(word.stop, stop) - max(word.start, start), -word.index) for word in near]
    best = max(shared, default=(0, 0))
    return -best[1] if best[0] > 0 else None


def overlaps(word: Word, start: int, stop: int) -> bool:
    """Whether a word has a character of `[start, stop)`."""
    return word.start < stop and start < word.stop


def fold(text: str) -> str:
    """Return a form that ignores case, normal form and invisible characters.

    The result is in NFC. Variation selectors choose the look of a letter, so they do not count.
    """
    return unicodedata.normalize("NFC", "".join(_fold(cluster) for _, cluster in _clusters(text)))


def word_keys(text: str) -> tuple[str, ...]:
    """Return the folded words of a text, which are the same for equal words and phrases."""
    return tuple(fold(word.text) for word in find_words(text))


def find_spans(words: Seq[Word], name: str) -> list[tuple[int, int]]:
    """Return the character spans of a word, or of several in a row, in a prompt.

    Case, normal form, and what is between words do not count. A span begins and ends where words
    do; beside a letter of a script without spaces, anywhere between letters. Spans do not overlap.

    Args:
        words: of the prompt, or pieces of them, in order.
        name: as typed.
    """
    text, edges = _fold_words(words)
    wanted, _ = _fold_words(find_words(name))
    spans, at = [], text.find(wanted) if wanted else -1
    while at >= 0:
        end = at + len(wanted)
        if at in edges and end in edges:
            spans.append((edges[at], edges[end]))
            at = text.find(wanted, end)
        else:
            at = text.find(wanted, at + 1)
    return spans


def split_words(words: Seq[Word], spans: Iterable[tuple[int, int]]) -> tuple[Word, ...]:
    """Return words, those cut in pieces in which a span begins or ends; numbered anew."""
    edges = sorted({edge for span in spans for edge in span})
    pieces: list[tuple[str, int, int]] = []
    for word in words:
        inside = [edge for edge in edges if word.start < edge < word.stop]
        for start, stop in pairwise((word.start, *inside, word.stop)):
            pieces.append((word.text[start - word.start : stop - word.start], start, stop))
    return tuple(Word(index, *piece) for index, piece in enumerate(pieces))


def is_invisible(character: str) -> bool:
    """Whether a character has no look of its own: a format character, a variation selector."""
    name = unicodedata.name(character, "")
    return unicodedata.category(character) == "Cf" or name.startswith("VARIATION SELECTOR")


@cache
def _simplify(character: str) -> str:
    """Return `MARK` or `FORMAT` for what belongs to a word but is no letter; else the same."""
    if character in JOINERS or unicodedata.category(character).startswith("M"):
        return MARK
    is_format = unicodedata.category(character) == "Cf" and character != ZERO_WIDTH_SPACE
    return FORMAT if is_format else character


def _clusters(text: str) -> Iterator[tuple[int, str]]:
    """Yield the offset of each letter, and the letter with all marks and joiners after it."""
    starts = [
        at for at, letter in enumerate(text) if not at or _simplify(letter) not in (MARK, FORMAT)
    ]
    for start, stop in pairwise((*starts, len(text))):
        yield start, text[start:stop]


@lru_cache(maxsize=2**12)  # of the letters of a language there are few
def _fold(cluster: str) -> str:
    """Return a letter in NFD, in which it is the same in whatever text it stands."""
    shown = (letter for letter in cluster if not is_invisible(letter))
    folded = unicodedata.normalize("NFD", "".join(shown)).casefold()
    return unicodedata.normalize("NFD", folded)


def _fold_words(words: Seq[Word]) -> tuple[str, dict[int, int]]:
    """Return words in a row, folded, and the places where a span may begin or end: their offsets.

    Pieces of one word follow each other without a break.
    """
    text, edges, reached = "", dict[int, int](), -1
    for word in words:
        text += BREAK if text and word.start != reached else ""
        reached, is_edge = word.stop, True
        for offset, cluster in _clusters(word.text):
            is_unspaced = unicodedata.name(cluster[0], "").startswith(UNSPACED)
            if is_edge or is_unspaced:
                edges[len(text)] = word.start + offset
            text, is_edge = text + _fold(cluster), is_unspaced
        edges[len(text)] = word.stop
    return text, edges


FUNCTION_WORDS = (
    "a above after an and are as at be before behind being below beside between but by for "
    "from he her his in inside into is it its my near next no nor not of off on onto or our "
    "out over she so some than that the their them then there these they this those through "
    "to under up upon very was were which while who with without your"
)
"""English articles, prepositions, conjunctions and pronouns, which name nothing to be seen."""
DIRECTIONS = "bottom centre center front left lower middle right top upper"
"""English words that say where something is, beside the prepositions."""
NAMING = "“a”, “of”, “left” … are none"
"""Which words are no content words, for readers of the page."""


def is_content(word: str) -> bool:
    """Whether a word names something: a content word is no function word, and no direction."""
    names_nothing = fold(word) in (*FUNCTION_WORDS.split(), *DIRECTIONS.split())
    return not names_nothing and any(map(str.isalnum, word))
