"""The check that positions, tokens, words and truncation fit together."""

from __future__ import annotations

from dataclasses import replace

from attn.backends.testing.observe import begin, fail
from attn.backends.types import Session
from attn.schema import Request, Token, find_words, part, word_at
from attn.schema import Sequence as TokenSequence

LONG = 1000


def tokens_spanned(session: Session, request: Request) -> None:
    """Every text position is one token, every word is covered by tokens or said to be cut off."""
    session, request = begin(session, request)
    long = " ".join(f"{request.prompt or 'word'} {number}" for number in range(LONG))
    for prompt in (request.prompt, " ".join(long.split()[:LONG])):
        probe = replace(request, prompt=prompt)
        for branch in session.branches(probe):
            _check(session.sequence(probe, branch), probe.prompt_of(branch), branch)
    if not any(token.is_content for token in session.sequence(request, "cond").tokens):
        fail("sequence()", "no token carries text of the prompt", "mark only specials as special")


def _check(sequence: TokenSequence, prompt: str, branch: str) -> None:
    for segment in part(sequence.segments, "text"):
        tokens = [token for token in sequence.tokens if token.segment == segment.name]
        content = [token for token in tokens if token.is_content]
        for token in content:
            _check_word(token, prompt, branch)
        if content and not segment.is_generated:
            _check_words(content, prompt, sequence.truncated.get(segment.name, ""), branch)


def _check_word(token: Token, prompt: str, branch: str) -> None:
    word = word_at(find_words(prompt), token.start, token.stop)
    if token.word != word:
        fail(
            "sequence()",
            f"branch {branch}: token {token.text!r} has word {token.word}, its characters "
            f"are in {word}",
            "use schema.word_at(find_words(prompt), start, stop)",
        )


def _check_words(content: list[Token], prompt: str, cut: str, branch: str) -> None:
    """Words without a token are in the part that was cut off."""
    if not prompt.rstrip().endswith(cut.rstrip()):
        fail(
            "sequence()",
            f"truncated has {cut[:20]!r}…",
            "report the end of the prompt as it was written",
        )
    kept = len(prompt.rstrip()) - len(cut.rstrip())
    covered = {token.word for token in content}
    lost = [word for word in find_words(prompt) if word.index not in covered and word.start < kept]
    if lost:
        fail(
            "sequence()",
            f"branch {branch}: no token covers {lost[0].text!r} at {lost[0].start}",
            "check the offsets, or report the end of the prompt that did not fit in `truncated`",
        )
    if cut and max(token.stop for token in content) > kept:
        fail("sequence()", "truncated has text that tokens cover", "report only what did not fit")
