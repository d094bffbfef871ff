"""A drawing's lines lie where its strokes are, on whatever they are drawn over."""

import numpy as np
import pytest
import xarray as xr

from attn.analysis.result import Result
from attn.analysis.sketch.sketch import SketchOptions, run
from attn.viz.figures import Subject, new_figure, render
from attn.viz.page import add_axes
from attn.viz.sketch import draw
from attn.viz.strokes import NAMED, STROKE, show_strokes, trace_lines
from tests.analysis.sketch.test_shapes import TWO, drawn  # noqa: F401 - a fixture

CYAN = np.array([int(STROKE[at : at + 2], 16) for at in (1, 3, 5)])


@pytest.mark.parametrize("extent", [None, (-0.5, 69.5, 43.5, -0.5)])
def test_lines_lie_on_the_strokes(extent):
    """Every line is on a stroke and every stroke has a line, whatever the axes count in."""
    strokes = np.zeros((22, 35), bool)
    strokes[5, 4:30] = strokes[9:18, 11] = True
    figure = new_figure(3.5, 2.2)
    axes = add_axes(figure, 0, 0, 3.5, 2.2)
    axes.imshow(np.ones((22, 35)), cmap="gray", vmin=0, vmax=1, extent=extent)
    axes.set_axis_off()
    show_strokes(axes, trace_lines(strokes), halo=False)
    pixels = np.asarray(render(figure), int)
    is_line = np.abs(pixels - CYAN).max(-1) < 60
    height, width = is_line.shape
    cells = is_line.reshape(22, height // 22, 35, width // 35).any((1, 3))
    assert (cells == strokes).all()


def test_no_lines():
    """Without a drawing nothing is drawn."""
    axes = add_axes(new_figure(1, 1), 0, 0, 1, 1)
    show_strokes(axes, trace_lines(np.zeros((22, 35), bool)))
    assert not axes.collections


@pytest.mark.parametrize("has_image", [True, False])
@pytest.mark.parametrize("is_closed", [True, False])
def test_figures(drawn, has_image, is_closed):  # noqa: F811
    """Each figure leads with its finding; what there is nothing of is not drawn."""
    strokes = TWO & (is_closed or np.indices(TWO.shape)[0] < 12)
    result = run(drawn(strokes), SketchOptions())
    image = np.full((22, 35, 3), 200, np.uint8) if has_image else None
    subject = Subject("A cat, a bobcat", 7, "toy", (image, image), strokes=trace_lines(strokes))
    figures = {made.path: made for made in draw(result, subject)}
    names = ["drawing", "overlap", *(["shapes"] if is_closed else [])]
    expected = {f"sketch/{name}-sample-{sample}.png" for name in names for sample in (0, 1)}
    assert set(figures) == expected
    first = figures["sketch/drawing-sample-1.png"]
    told = " ".join(text.get_text() for text in first.figure.texts)
    assert told.startswith(result.arrays["deviation 1"].attrs["headline"])
    for name in {*names} - {"drawing"}:
        assert NAMED in figures[f"sketch/{name}-sample-0.png"].figure.texts[1].get_text()
    remarks = [text.get_text() for text in first.figure.axes[0].texts]
    assert ("2 closed shapes" if is_closed else "no closed shapes") in remarks


@pytest.mark.parametrize("scale", ["auto", "shared", "own"])
def test_scale_of_tokens(scale):
    """Maps of sketch tokens have scales of their own, or the one of all if that is asked for."""
    values = np.random.default_rng(5).random((1, 2, 5, 7)) * np.array([9, 1])[:, None, None]
    axes = {"series": ["all 77 sketch tokens", "7"]}
    tokens = xr.DataArray(values, axes, ("sample", "series", "row", "column"))
    arrays = {
        "drawing": xr.DataArray(TWO, dims=("row", "column")),
        "tokens": tokens.assign_attrs(scale=scale),
    }
    made = list(draw(Result({}, arrays), Subject("A cat", 7, "toy", (None,))))
    shown = [image for panel in made[-1].figure.axes[1:3] for image in panel.images]
    largest = [values.max()] * 2 if scale == "shared" else values[0].max((1, 2))
    assert [image.get_clim() for image in shown] == [(0, end) for end in largest]
