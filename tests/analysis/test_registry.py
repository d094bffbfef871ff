"""Which analyses can run on a trace, and what is said of the others."""

from dataclasses import replace

import pytest

from attn.analysis import registry
from attn.analysis.needs import Needs
from attn.errors import AnalysisError, UsageError
from attn.options import describe_options
from tests.helpers.toy_probs import make_full
from tests.helpers.toy_traces import JOINT, make_trace, manifest, tensors

ALL = ["words", "curves", "sinks"]
"""What runs unless it is chosen."""


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
    assert (names(plan), plan.skipped, plan.reduced) == (ALL, {}, {})


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        (
            {"measures": ("headmap.image.text",)},
            "headmaps of image.text, which were not kept; capture with --keep heads",
        ),
        (
            {"measures": ("query.image.text",)},
            "queries of image.text, which were not kept; capture with --keep factors",
        ),
        (
            {"measures": ("mass.image.image",)},
            "the block image.image, which was not captured; capture with --blocks image.image",
        ),
        ({"kinds": ("self",)}, "self layers, of which none was captured"),
        (
            {"all_keys": True},
            "maps of every key, of which only the prompt's were kept; capture with --keys all",
        ),
    ],
)
def test_skipped(picky, needs, reason):
    """What cannot run is skipped with the reason, and the option that would enable it."""
    picky(**needs)
    plan = registry.plan(make_trace())
    assert names(plan) == ALL
    assert str(plan.skipped["picky"]) == reason


def test_named_but_not_runnable(picky):
    """An analysis that was asked for by name and cannot run is an error."""
    picky(measures=("headmap.image.text",))
    with pytest.raises(AnalysisError, match=r"'picky' needs headmaps .* capture with --keep heads"):
        registry.plan(make_trace(), ["picky"])


def test_on_request():
    """What runs on request only is not in the way, and says what it lacks when it is asked for."""
    assert "stepavg" not in names(registry.plan(make_trace()))
    with pytest.raises(AnalysisError, match=r"'stepavg' needs maps of every key.*--keys all"):
        registry.plan(make_trace(), ["stepavg"])
    about = replace(manifest(), kept=replace(manifest().kept, keys="all"))
    assert names(registry.plan(make_trace(about), ["stepavg"])) == ["stepavg"]


def test_offered():
    """What could run if it were asked for is known, once nobody chose."""
    about = replace(manifest(), kept=replace(manifest().kept, keys="all"))
    assert registry.plan(make_trace()).offered == ("concentration", "evolution")
    assert registry.plan(make_trace(about)).offered == ("concentration", "evolution", "stepavg")
    assert registry.plan(make_trace(about), ["words"]).offered == ()


def test_without_words():
    """A prompt without words, such as an empty one, still has sinks."""
    plan = registry.plan(make_trace(replace(manifest(), words=())))
    assert names(plan) == ["sinks"]
    assert str(plan.skipped["words"]) == "words, of which the prompt has none"


def test_image_keys():
    """Only joint layers have masses of image keys to miss, and `--mass full` brings them."""
    assert "sinks" not in registry.plan(make_trace()).reduced
    lack = registry.plan(make_trace(manifest(JOINT))).reduced["sinks"]
    assert str(lack) == ("the masses of image keys, which were not kept; capture with --mass full")
    assert "sinks" not in registry.plan(make_full()[0]).reduced


def test_nothing_runnable():
    """A trace without a picture has no word heatmaps, and nothing else to run."""
    layer = replace(manifest().layers[0], queries=(), keys=(), blocks=())
    trace = make_trace(replace(manifest(), layers=(layer,)), tensors(manifest()))
    with pytest.raises(AnalysisError, match="'words' needs image segments"):
        registry.plan(trace)


def test_reduced():
    """Without maps the words still run, and it is known what is missing."""
    plan = registry.plan(make_trace(manifest(level="mass")))
    assert names(plan) == ALL
    expected = "maps of image.text, which were not kept; capture with --keep maps"
    assert str(plan.reduced["words"]) == expected


@pytest.mark.parametrize(
    ("measure", "several"), [("share_max", "largest shares (share_max)"), ("peak", "peaks")]
)
def test_small_measures_of_maps(picky, measure, several):
    """What comes with maps alone is missed at the level `mass`, with that level's advice."""
    picky(measures=(f"{measure}.image.text",))
    assert "picky" in names(registry.plan(make_trace()))
    lack = registry.plan(make_trace(manifest(level="mass"))).skipped["picky"]
    assert str(lack) == (f"{several} of image.text, which were not kept; capture with --keep maps")


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
