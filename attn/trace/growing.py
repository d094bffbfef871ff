"""Texts that end before all positions are written that were laid out for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attn.schema import Kept, Manifest, SampleText, Segment, Step, Token

SPANNED = 2
"""Version of manifests whose steps have spans."""


def ended(manifest: Manifest, steps: Sequence[Step]) -> Manifest:
    """Return a manifest with the positions only that its steps reached.

    Args:
        manifest: as it was planned.
        steps: that ran; without spans nothing changes.
    """
    if not steps or steps[-1].span is None:
        return manifest
    stop = steps[-1].span[1]
    return replace(
        manifest,
        layers=tuple(
            replace(
                layer,
                queries=_cut(layer.queries, stop),
                keys=_cut(layer.keys, stop + layer.num_sinks),
            )
            for layer in manifest.layers
        ),
        segments={branch: _cut(parts, stop) for branch, parts in manifest.segments.items()},
        tokens={
            branch: tuple(token for token in tokens if token.position < stop)
            for branch, tokens in manifest.tokens.items()
        },
        kept=reached(manifest.kept, steps),
        schema=SPANNED,
    )


def reached(kept: Kept, steps: Sequence[Step]) -> Kept:
    """Return what was kept, with the columns only that steps reached."""
    if not steps or steps[-1].span is None:
        return kept
    stop = steps[-1].span[1]
    columns = (
        column for column in kept.columns if column.position is None or column.position < stop
    )
    return replace(kept, columns=tuple(columns))


def sample_texts(manifest: Manifest, written: Sequence[Sequence[Token]]) -> tuple[SampleText, ...]:
    """Return the text of each sample, where texts grow and samples write different ones.

    Args:
        manifest: of the trace.
        written: the tokens that each sample wrote.
    """
    if manifest.schema < SPANNED or len(written) < 2:  # noqa: PLR2004 - one is in the tokens
        return ()
    generated = {part.name for part in manifest.segments["cond"] if part.is_generated}
    read = tuple(token for token in manifest.tokens["cond"] if token.segment not in generated)
    prompt, words = manifest.request.prompt, manifest.words
    return tuple(SampleText(prompt, (*read, *tokens), words) for tokens in written)


def _cut(segments: Sequence[Segment], stop: int) -> tuple[Segment, ...]:
    return tuple(replace(part, stop=min(part.stop, stop)) for part in segments if part.start < stop)
