"""What a cut did to the objects of the shapes world, as its judge sees them.

Of every picture whose prompt is a caption of that world, the picture of a cut is held against that
of the baseline from the same noise; `attn.demo.changes` defines the changes, each 1 or 0. They are
of the object of the caption of which a word is cut, or of the first one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attn.verbs.compare.variants import Variant

if TYPE_CHECKING:
    from attn.analysis.compare.controls.controls import Values
    from attn.analysis.images import Pixels
    from attn.demo.scenes import Content


def shape_changes(variant: Variant, words: Sequence[str]) -> dict[str, Values]:
    """Return what changed of each picture of a caption, by change and (prompt, seed, sample).

    Args:
        variant: of a cut, or a random control of it.
        words: that are cut.
    """
    from attn.analysis.compare.images import image_pairs
    from attn.demo import scenes
    from attn.trace.trace import open_trace

    values: dict[str, Values] = {}
    for base, member in variant.all_members:
        try:
            content = scenes.read(base.prompt)
        except KeyError:
            continue
        pairs = image_pairs(open_trace(base.folder), open_trace(member.folder))
        for sample, (before, after) in enumerate(pairs):
            for name, change in _changes(content, before, after, words).items():
                values.setdefault(name, {})[base.prompt, base.seed, sample] = change
    return values


def _changes(
    content: Content, before: Pixels, after: Pixels, words: Sequence[str]
) -> Mapping[str, float]:
    from attn.demo import judge
    from attn.demo.changes import list_changes

    named = {piece for word in words for piece in word.casefold().split()}
    cut = [bool(named & {kind.color, kind.shape}) for kind in content.kinds]
    which = cut.index(True) if any(cut) else 0
    return list_changes(content, judge.find(before), judge.find(after), which)
