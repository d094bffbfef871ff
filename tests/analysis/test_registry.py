"""Which analyses can run on a trace, and what is said of the others."""

from dataclasses import replace

import pytest

from attn.analysis import registry
from attn.analysis.needs import Needs
from attn.errors import AnalysisError, UsageError
from attn.options import describe_options
from tests.toy_traces import make_trace, manifest, tensors


@pytest.fixture
def picky(monkeypatch):
    """Add an analysis that needs what the toy traces do not have."""

    def add(**needs):
        words = registry.find("words")
        other = replace(words, name="picky", needs=Needs(**needs), wants=registry.NOTHING)
        monkeypatch.setattr(registry, "ANALYSES", (*registry.ANALYSES, other))

    return add


def names(plan):
    """Return the names of what runs."""
    return [analysis.name for analysis in plan.runnable]


def test_everything_runs():
    """A trace of the default level has all that the built-in analyses want."""
    plan = registry.plan(make_trace())
    assert (names(plan), plan.skipped, plan.reduced) == (["words"], {}, {})


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        (
            {"measures": ("headmap.image.text",)},
            "headmaps of image.text, which were not kept; capture with --keep heads",
        ),
        (
            {"measures": ("mass.image.image",)},
            "the block image.image, which was not captured; capture with --blocks image.image",
        ),
        ({"kinds": ("self",)}, "self layers, of which none was captured"),
    ],
)
def test_skipped(picky, needs, reason):
    """What cannot run is skipped with the reason, and the option that would enable it."""
    picky(**needs)
    plan = registry.plan(make_trace())
    assert names(plan) == ["words"]
    assert str(plan.skipped["picky"]) == reason


def test_named_but_not_runnable(picky):
    """An analysis that was asked for by name and cannot run is an error."""
    picky(measures=("headmap.image.text",))
    with pytest.raises(AnalysisError, match=r"'picky' needs headmaps .* capture with --keep heads"):
        registry.plan(make_trace(), ["picky"])


def test_nothing_runnable():
    """A trace without a picture has no word heatmaps, and nothing else to run."""
    layer = replace(manifest().layers[0], queries=(), keys=(), blocks=())
    trace = make_trace(replace(manifest(), layers=(layer,)), tensors(manifest()))
    with pytest.raises(AnalysisError, match="'words' needs image segments"):
        registry.plan(trace)


def test_reduced():
    """Without maps the words still run, and it is known what is missing."""
    plan = registry.plan(make_trace(manifest(level="mass")))
    assert names(plan) == ["words"]
    expected = "maps of image.text, which were not kept; capture with --keep maps"
    assert str(plan.reduced["words"]) == expected


def test_reduced_by_other_blocks():
    """Masses of image.text are always kept, its maps only where the block was asked for."""
    about = manifest()
    about = replace(about, kept=replace(about.kept, blocks=("image.image",)))
    assert registry.plan(make_trace(about)).reduced["words"].enable == "--blocks image.text"


def test_partial_means():
    """Means are written at the end, so an interrupted capture has none."""
    about = replace(manifest(level="means"), status="partial")
    plan = registry.plan(make_trace(about))
    assert plan.reduced["words"].enable == "--resume"


def test_no_steps():
    """A trace that broke off before its first step has nothing to analyse."""
    with pytest.raises(AnalysisError, match="has no finished step"):
        registry.plan(make_trace(replace(manifest(), steps=())))


def test_unknown_name():
    """A misspelt analysis is a usage error with the nearest name."""
    with pytest.raises(UsageError, match=r"unknown analysis 'word'\. Did you mean 'words'\?"):
        registry.plan(make_trace(), ["word"])


@pytest.mark.parametrize("analysis", registry.ANALYSES, ids=lambda analysis: analysis.name)
def test_options_are_described(analysis):
    """Every option of every analysis has a default and a help text for `--list`."""
    assert all(option.help for option in describe_options(analysis.Options))
