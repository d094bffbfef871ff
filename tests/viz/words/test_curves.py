"""Pictures of curves, of sinks and of collections: time runs forward, layers are in order."""

import numpy as np
import pytest
import xarray as xr

from attn.analysis.digest import Digest, Gathered
from attn.analysis.sinks.sinks import SinksOptions as SinkOptions
from attn.analysis.sinks.sinks import run as run_sinks
from attn.analysis.words.curves import CurvesOptions, run
from attn.viz import sinks
from attn.viz.figures import Subject
from attn.viz.lines import read_time, spread
from attn.viz.words import curves
from attn.viz.words.summary import draw_summary
from tests.helpers.toy_probs import make_full

ABOUT = Subject("A cat, a bobcat", 7, "toy", (None, None))


@pytest.fixture(scope="module")
def trace():
    """A trace of two layers and three steps with known noise."""
    return make_full()[0]


def steps(noise):
    """Return an array with an axis of steps."""
    numbers = np.arange(len(noise))
    return xr.DataArray(
        np.zeros(len(noise)), {"step": numbers, "noise": ("step", noise)}, ("step",)
    )


def titles(figure):
    """Return what stands above the axes of a figure."""
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def marks(axes):
    """Return the labels below axes from left to right."""
    labels = [(label.get_position()[0], label.get_text()) for label in axes.get_xticklabels()]
    return [text for _, text in sorted(labels)]


def test_time():
    """Steps are evenly apart, with their noise unless it is unknown, or visited twice."""
    for noise in ([1.0, 0.99, 0.2], [np.nan] * 3, [1.0, 0.5, 0.5]):
        time = read_time(steps(noise))
        assert time.x.tolist() == [0.0, 1.0, 2.0]
        assert (time.noise is not None) == (noise == [1.0, 0.99, 0.2])


def test_spread():
    """The first and last place are marked, and no two too close to each other."""
    x = np.array([0.0, 0.1, 0.2, 2.0, 3.9, 4.0])
    assert spread(x, 4.0, apart=0.5) == [0, 3, 5]
    assert spread(np.zeros(1), 4.0) == [0]


def test_files(trace):
    """There is a page of all layers, and a page of each if that is asked for."""
    paths = [item.path for item in curves.draw(run(trace, CurvesOptions()), ABOUT)]
    assert paths[:2] == ["clip/curves/words-sample-0.png", "clip/curves/words-sample-1.png"]
    every = [item.path for item in curves.draw(run(trace, CurvesOptions(files="all")), ABOUT)]
    assert every[1:3] == [
        "clip/curves/words_mean_block0-sample-0.png",
        "clip/curves/words_mean_block2-sample-0.png",
    ]


def test_grid(trace):
    """Plots are in the order of the layers, on one scale, over noise with the steps below it."""
    array = run(trace, CurvesOptions()).arrays["clip/words"].isel(sample=0)
    figure = curves.draw_grid(array.isel(layer=[1, 0]), ABOUT)
    assert [text for text in titles(figure) if text.startswith("layer")] == ["layer 0", "layer 2"]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert marks(figure.axes[-1]) == ["1\n0", "0.7\n1", "0.2\n2"]
    (first, *_) = figure.axes[0].lines
    assert (np.diff(first.get_xdata()) > 0).all()
    np.testing.assert_array_equal(first.get_ydata(), array.sel(layer=0, word=0))


def test_single_layer_has_the_scale_of_all(trace):
    """Pictures of single layers can be compared."""
    array = run(trace, CurvesOptions()).arrays["clip/words"].isel(sample=0)
    figures = [curves.draw_grid(array, ABOUT), curves.draw_layer(array, 0, ABOUT)]
    assert len({figure.axes[0].get_ylim() for figure in figures}) == 1


def test_layer_head_heatmap(trace):
    """Layers are to the right in numeric order, heads down; a head that is not there is grey."""
    heads = run_sinks(trace, SinkOptions()).arrays["heads"]
    figure = sinks.draw_heads(heads.isel(layer=[1, 0]), ABOUT)
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array().filled(np.nan), heads.values.T)
    assert marks(axes) == ["0", "2"]
    label = "attention probability\ngrey: there are no such heads"
    assert figure.axes[1].get_xlabel() == label


def test_timestep_curve(trace):
    """The curve runs in generation order and is the mean over layers."""
    array = run_sinks(trace, SinkOptions()).arrays["steps"]
    axes = sinks.draw_steps(array, ABOUT).axes[0]
    assert marks(axes) == ["1\n0", "0.7\n1", "0.2\n2"]
    np.testing.assert_allclose(axes.lines[-1].get_ydata(), array.mean("layer"))
    names = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert names[0] == "mean over layers"
    assert len(names) == 1 + min(3, array.sizes["layer"]) + (array.sizes["layer"] > 3)


def test_roles(trace):
    """Bars of all roles reach 1."""
    figure = sinks.draw_roles(run_sinks(trace, SinkOptions()).arrays["roles"], ABOUT)
    tops = {round(bar.get_y() + bar.get_height(), 6) for bar in figure.axes[0].containers[-1]}
    assert tops == {1.0}
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[0] == "clip start token"
    assert names[-1] == "image"


def test_role_of_a_drawing():
    """A drawing's bar has a colour of its own, and is plain like those of the first segment."""
    roles = ["clip start token", "clip words", "drawing"]
    values = xr.DataArray(
        [[0.2], [0.3], [0.5]],
        {"role": roles, "layer": [3]},
        attrs={"unit": "attention probability", "branch": "cond"},
    )
    bars = [container[0] for container in sinks.draw_roles(values, ABOUT).axes[0].containers]
    assert len({bar.get_facecolor() for bar in bars}) == 3
    assert [bar.get_hatch() for bar in bars] == ["", "", ""]


@pytest.mark.parametrize(("topk", "told"), [(2, "2 more words"), (3, "1 more word"), (4, "")])
def test_words_that_are_not_drawn(trace, topk, told):
    """A page of curves says how many words it leaves out."""
    figure = next(curves.draw(run(trace, CurvesOptions(topk=topk)), ABOUT)).figure
    (line,) = [text.get_text() for text in figure.texts if "seed 7" in text.get_text()]
    assert line.partition("heads")[2] == (f" · {told} not shown" if told else "")


def gather(digests):
    """Gather the curves of several traces, as a collection does."""
    gathered = Gathered(digests[0])
    for digest in digests:
        gathered.add(digest)
    return gathered


def test_summary():
    """A collection's page has the mean over traces and a band; other steps are left out."""

    def digest(value, noise=(1.0, 0.5)):
        curves, steps = {"clip": np.full(len(noise), value)}, tuple(range(len(noise)))
        return Digest(curves, "step", steps, "All", "part", noise)

    digests = [digest(0.2), digest(0.6), digest(9.0, (1.0, 0.7, 0.1))]
    picture = draw_summary({"a": gather(digests)}, ("runs", "3 traces"))
    (axes,) = picture.figure.axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.4, 0.4])
    assert "part · n = 2, 1 with other steps left out" in titles(picture.figure)
    assert picture.path == "summary.png"


@pytest.mark.parametrize(
    ("absent", "means", "remark"),
    [
        (0.0, [0.4, 0.3, 0.1], "part · n = 3"),
        (None, [0.4, 0.45, 0.3], "part · n = 1 to 3"),
    ],
)
def test_summary_of_series_that_some_lack(absent, means, remark):
    """A role that a trace has no key of receives nothing there; other series have fewer traces."""
    shares = ({"a": 0.6}, {"a": 0.4, "b": 0.6}, {"a": 0.2, "b": 0.3, "c": 0.3})
    digests = [
        Digest(
            {name: np.full(2, share) for name, share in own.items()},
            "layer",
            (0, 3),
            "All",
            "part",
            absent=absent,
        )
        for own in shares
    ]
    picture = draw_summary({"x": gather(digests)}, ("runs", "3 traces"))
    (axes,) = picture.figure.axes
    for line, mean in zip(axes.lines, means, strict=True):
        np.testing.assert_allclose(line.get_ydata(), [mean, mean])
    assert remark in titles(picture.figure)


def test_roles_that_a_trace_lacks(trace):
    """On the page of a collection masses of roles add up to 1, as they do in each trace."""
    masses = run_sinks(trace, SinkOptions()).digests["3 roles by layer"]
    assert masses.absent == 0
    np.testing.assert_allclose(sum(masses.series.values()), 1)


def test_words_of_several_prompts_have_one_colour():
    """A word of two prompts has the same line in both plots of a collection's page."""
    series = ({"red": [0.1, 0.2], "cat": [0.3, 0.4]}, {"cat": [0.2, 0.1], "sea": [0.3, 0.3]})
    panels = {}
    for number, of_prompt in enumerate(series):
        lines = {name: np.array(values) for name, values in of_prompt.items()}
        digest = Digest(lines, "layer", (0, 1), "Words", "share", is_of_prompt=True)
        panels[f"prompt {number}"] = gather([digest])
    plots = draw_summary(panels, ("a collection", "")).figure.axes[:2]
    colours = [
        dict(zip(of, [line.get_color() for line in axes.lines], strict=True))
        for of, axes in zip(series, plots, strict=True)
    ]
    assert colours[0]["cat"] == colours[1]["cat"] != colours[1]["sea"] != colours[0]["red"]
