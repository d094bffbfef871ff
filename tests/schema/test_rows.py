"""Where the positions of a layer are in rows that a batch fills up."""

import pytest

from attn.schema import ABSENT, Segment, place

TEXT = (Segment("template", "text", 0, 2), Segment("prompt", "text", 2, 5))
IMAGE_FIRST = (
    Segment("image", "image", 0, 3, (3, 1)),
    Segment("template", "text", 3, 5),
    Segment("prompt", "text", 5, 8),
    Segment("end", "text", 8, 9),
)
TEXT_FIRST = (*TEXT, Segment("image", "image", 5, 8, (3, 1)))
LONG, SHORT = (("prompt", 3), ("end", 1)), (("prompt", 1), ("end", 1))


@pytest.mark.parametrize(
    ("segments", "rows", "row", "positions", "length"),
    [
        (IMAGE_FIRST, (LONG, LONG), 1, (0, 1, 2, 3, 4, 5, 6, 7, 8), 9),
        (IMAGE_FIRST, (LONG, SHORT), 0, (0, 1, 2, 3, 4, 5, 6, 7, 8), 9),
        (IMAGE_FIRST, (LONG, SHORT), 1, (0, 1, 2, 3, 4, 5, -1, -1, 6), 9),
        (IMAGE_FIRST, (SHORT, SHORT), 0, (0, 1, 2, 3, 4, 5, -1, -1, 6), 7),
        (TEXT_FIRST, (LONG, SHORT), 1, (0, 1, 2, -1, -1, 5, 6, 7), 8),
        (TEXT_FIRST, (SHORT, SHORT), 0, (0, 1, 2, -1, -1, 3, 4, 5), 6),
        (TEXT_FIRST, ((("prompt", 7),), SHORT), 1, (0, 1, 2, -1, -1, 9, 10, 11), 12),
        (IMAGE_FIRST[:1], (LONG, SHORT), 1, (0, 1, 2), 3),
    ],
)
def test_place(segments, rows, row, positions, length):
    """What fills a row up stands behind its texts, wherever these are; what it lacks is absent."""
    placed = place(segments, rows, row)
    assert ABSENT == -1
    assert (placed.positions, placed.length) == (positions, length)
    assert placed.is_whole == (positions == tuple(range(length)))
