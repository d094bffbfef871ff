"""Sheets of equal cells, and titles that fit."""

import pytest

from attn.viz.figures import new_figure
from attn.viz.page import CELL_WIDTHS, add_axes, arrange, write_heading, write_title


def sheet(cells, aspect, prompt="a cat"):
    """Arrange cells below a prompt."""
    return arrange(cells, aspect, (prompt, "facts"), narrowest=4.6, footer=0.7)


@pytest.mark.parametrize("cells", [1, 2, 8, 24, 77])
@pytest.mark.parametrize("aspect", [0.25, 0.66, 1.0, 1.5, 4.0])
def test_cells_are_inside_and_apart(cells, aspect):
    """Every cell is on the page, of the right shape, and overlaps no other."""
    page = sheet(cells, aspect)
    width, height = page.cell
    assert height / width == pytest.approx(aspect)
    assert width <= CELL_WIDTHS[1]
    corners = [page.corner(index) for index in range(cells)]
    assert len(set(corners)) == cells
    across, down = page.size
    assert all(left >= 0 and left + width <= across for left, _ in corners)
    assert all(upper >= page.top and upper + height <= down - page.footer for _, upper in corners)


def test_shape_of_the_sheet():
    """Square pictures make a page about as wide as a screen, with few empty cells."""
    page = sheet(24, 1.0)
    assert (page.columns, page.rows) == (6, 4)


def test_long_headings():
    """Long prompts and subtitles are wrapped into three lines each, which say that they go on."""
    page = arrange(8, 1.0, ("word " * 300, "fact " * 300), narrowest=4.6, footer=0.7)
    assert (len(page.heading), page.small) == (6, 3)
    assert [line[-1] for line in page.heading[2::3]] == ["…", "…"]
    figure = new_figure(*page.size)
    write_heading(figure, page.heading, page.small)
    assert max(text.get_window_extent().x1 for text in figure.texts) < figure.bbox.x1


@pytest.mark.parametrize(("prompt", "written"), [("", "(empty prompt)"), ("a cat", "a cat")])
def test_heading(prompt, written):
    """A page whose prompt is empty says so in the place of the prompt."""
    figure = new_figure(3, 2)
    write_heading(figure, (prompt, "seed 0"))
    assert [text.get_text() for text in figure.texts] == [written, "seed 0"]


@pytest.mark.parametrize("word", ["Kraftfahrzeughaftpflichtversicherung", "猫と庭" * 9])
def test_title_is_cut(word):
    """A title that is too wide ends in an ellipsis before the remark begins."""
    figure = new_figure(3, 2)
    axes = add_axes(figure, 0.5, 0.5, 1.5, 1.0)
    write_title(axes, word, "0.012", size=10)
    remark, title = axes.texts
    assert title.get_text().endswith("…")
    assert title.get_window_extent().x1 < remark.get_window_extent().x0


def test_title_is_plain_text():
    """Dollars are dollars, not the beginning of a formula."""
    axes = add_axes(new_figure(3, 2), 0.5, 0.5, 2.5, 1.0)
    write_title(axes, "$x^2$", size=10)
    assert axes.texts[1].get_text() == "$x^2$"
    assert not axes.texts[1].get_parse_math()
