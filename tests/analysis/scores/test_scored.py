"""Word heatmaps scored on what a model painted."""

from dataclasses import astuple, replace

import numpy as np
import pytest

from attn.analysis.scores.localise import score
from attn.analysis.scores.poolings import Pooling
from attn.analysis.scores.regions import WordRegion, centre_blob, coarsen
from attn.analysis.scores.scored import MapScore
from attn.analysis.scores.scored import score_trace as score_samples
from attn.analysis.scores.segmentation import Tally
from attn.analysis.scores.summary import CLASSES, find_rows, summarise, summarise_segmentation
from attn.analysis.tables import write_table
from attn.analysis.words import words
from attn.errors import AnalysisError
from attn.schema import Sequence, find_words
from attn.trace.store import shard_file
from attn.trace.trace import MemoryFiles, Trace
from tests.helpers.toy_traces import columns, cross_layer, joint_layer, manifest, sequence, tokens

PROMPT = "a red star on a white background"
STAR = 2
"""Place of its word."""
CROSS = (cross_layer(1, (4, 8), 2), cross_layer(3, (8, 16), 3))
JOINT = (joint_layer(0, (4, 8), 2),)
REGION = np.zeros((32, 32), bool)
REGION[8:16, 4:16] = True
TARGET = WordRegion("star", "shape", REGION)


def score_trace(trace, regions):
    """Return the scores of the only picture."""
    return score_samples(trace, {0: regions})[0]


def read(*, t5):
    """Return the tokens of the prompt; t5 has lost its last word."""
    texts = [(word, index) for index, word in enumerate(PROMPT.split())]
    clip = tokens("clip", [("<s>", None), *texts, ("</s>", None)], 0, 11)
    segments = sequence("cond").segments
    if not t5:
        return Sequence(segments[:1], clip)
    return Sequence(segments, clip + tokens("t5", [*texts[:-1], ("</s>", None)], 11, 13))


def make(heat, layers=CROSS, *, level="heads"):
    """Return a trace; `heat(layer, head, step)` is the star's map, in t5 upside down."""
    about = manifest(layers, level=level, samples=1)
    sequences = read(t5=layers is JOINT)
    about = replace(
        about,
        words=find_words(PROMPT),
        tokens={"cond": sequences.tokens},
        kept=replace(about.kept, columns=columns([sequences])),
    )
    files = {shard_file(step): {} for step in about.steps}
    for step in about.steps:
        for layer in layers:
            heats = [heat(layer, head, step.index) for head in range(layer.num_heads)]
            files[shard_file(step)] |= fold(layer, about, heats)
    return Trace(MemoryFiles(about, files))


def fold(layer, about, heats):
    """Return the maps of one layer and step, noise but for the star; mass and share are dummies."""
    held = about.kept.columns
    shape = (len(heats), layer.grid[0] * layer.grid[1], len(held))
    maps = np.random.default_rng(layer.index).random(shape) / 100
    for index, column in enumerate(held):
        if column.position == 1 + STAR:
            maps[..., index] = [heat.ravel() for heat in heats]
        if column.position == 11 + STAR:
            maps[..., index] = [1 - heat.ravel() for heat in heats]
    name, maps = ("headmap", maps) if about.kept.level == "heads" else ("map", maps.mean(0))
    keys = sum(key.length for key in layer.keys if key.kind == "text")
    kept = {name: maps.astype(np.float16)}
    kept |= {"mass": np.ones((len(heats), keys), "f4"), "share": np.ones(keys, "f4")}
    return {f"{layer.index}/{key}.image.text": value[None, None] for key, value in kept.items()}


def true_heat(layer, *_):
    return coarsen(REGION, layer.grid).astype(float)


def scores(rows, name):
    """Return the scores of one pooling by (layer, head, step), without DAAM's."""
    selected = [row for row in rows if row.pooling.name == name]
    return {
        astuple(row.pooling)[1:]: {key: row.scores[key] for key in row.scores if key != "daam"}
        for row in selected
    }


def test_perfect_heatmaps_have_perfect_scores():
    """Where every head marks the object, every pooling finds it on its own grid."""
    rows = score_trace(make(true_heat), [TARGET])
    poolings = [row.pooling for row in rows if row.segment == "clip"]
    heads = [(1, 0), (1, 1), (3, 0), (3, 1), (3, 2)]
    assert set(poolings) == {
        *(Pooling("mean"), Pooling("daam")),
        *(Pooling("step", step=step) for step in (0, 1, 2)),
        *(Pooling("layer", layer) for layer in (1, 3)),
        *(Pooling("head", layer, head) for layer, head in heads),
    }
    assert len(poolings) == len(set(poolings))
    found = [row for row in rows if row.segment == "clip" and row.pooling.name != "daam"]
    assert {row.scores[name] for row in found for name in ("pointing", "iou@0.5", "precision")} == {
        1
    }
    areas = {row.pooling.layer: row.area for row in rows}
    assert areas[1] == coarsen(REGION, (4, 8)).mean()
    assert areas[3] == areas[None] == coarsen(REGION, (8, 16)).mean()


def test_heads_and_steps_are_scored_apart():
    """A head that points away in one step scores 0 alone, whatever its neighbours do."""

    def heat(layer, head, step):
        away = (layer.index, head) == (3, 1) or step == 2
        return true_heat(layer) * (-1 if away else 1) / 2 + 0.5

    rows = score_trace(make(heat), [TARGET])
    heads = {key: of["pointing"] for key, of in scores(rows, "head").items()}
    assert heads.pop((3, 1, None)) == 0
    assert set(heads.values()) == {1}
    steps = {key[2]: of["pointing"] for key, of in scores(rows, "step").items()}
    assert steps == {0: 1, 1: 1, 2: 0}


@pytest.mark.parametrize("level", ["maps", "heads"])
@pytest.mark.parametrize("pooling", ["mean", "daam"])
def test_pooled_maps_are_those_of_the_analysis_words(level, pooling):
    """What is scored is what a user sees."""
    rng = np.random.default_rng(5)
    trace = make(lambda layer, *_: rng.random(layer.grid), level=level)
    options = words.WordsOptions(words=("star",), pooling=pooling)
    shown = words.run(trace, options).arrays["clip"][0, 0].values
    expected = score(shown, coarsen(REGION, shown.shape))
    assert scores(score_trace(trace, [TARGET]), pooling)[None, None, None] == pytest.approx(
        expected
    )


def test_single_heads_need_single_heads():
    """A trace with head means only is scored without single heads, but layer by layer."""
    rows = score_trace(make(true_heat, level="maps"), [TARGET])
    assert scores(rows, "head") == {}
    assert scores(rows, "layer").keys() == {(1, None, None), (3, None, None)}


def test_segments_are_scored_apart_and_together():
    """What CLIP's token finds is not mixed with T5's; a word that T5 lost has no row there."""
    background = WordRegion("background", "background", ~REGION)
    rows = score_trace(make(true_heat, JOINT), [TARGET, background])
    mean = {(row.segment, row.word): row for row in rows if row.pooling.name == "mean"}
    assert mean.keys() == {
        *(("clip", "star"), ("clip", "background"), ("t5", "star")),
        *(("text", "star"), ("text", "background")),
    }
    assert mean["clip", "star"].scores["pointing"] == 1
    assert mean["t5", "star"].scores["pointing"] == 0


def test_phrases_and_repeated_words():
    """A phrase is the sum of its words; of a word that stands there twice both places count."""
    trace = make(true_heat)
    rows = score_trace(trace, [WordRegion("red star", "x", REGION), WordRegion("a", "y", REGION)])
    both = {row.word: row for row in rows if row.pooling.name == "mean"}
    assert both["red star"].scores["pointing"] == 1
    maps = trace.word_maps(["a"]).values[0, 0].mean(0)
    expected = score(maps, coarsen(REGION, maps.shape))
    assert both["a"].scores["precision"] == pytest.approx(expected["precision"])


def test_baselines_know_nothing_of_the_word():
    """Whole picture and centre blob are scored on the same regions, once per word."""
    rows = score_trace(make(true_heat), [TARGET])
    area = coarsen(REGION, (8, 16)).mean()
    whole = list(scores(rows, "whole picture")[None, None, None].values())
    assert whole == pytest.approx([area] * len(whole))
    centre = score(centre_blob((8, 16)), coarsen(REGION, (8, 16)))
    assert scores(rows, "centre") == {(None, None, None): centre}


def test_a_region_that_fills_the_grid_is_left_out():
    """On a coarse grid a speck leaves no place that is not background: nothing to be found."""
    speck = np.ones((32, 32), bool)
    speck[0, 0] = False
    assert score_trace(make(true_heat), [WordRegion("white", "background color", speck)]) == []


def test_words_must_be_in_the_prompt():
    """A target of another caption is an error, not a row of zeros."""
    with pytest.raises(AnalysisError, match="the prompt has no word 'blue'"):
        score_trace(make(true_heat), [WordRegion("blue", "color", REGION)])


def row(role, pointing, area=0.1, pooling=None, segment="clip"):
    tally = Tally(np.array([3.0, 4, 1, 2, 2, 3, pointing, 1]))
    pooling = pooling or Pooling("head", 3, 1)
    return MapScore(segment, role, "word", pooling, area, {"pointing": pointing}, tally)


def centre(role, pointing):
    return row(role, pointing, pooling=Pooling("centre"), segment="")


def flat(role):
    return row(role, 0.1, pooling=Pooling("whole picture"), segment="")


def test_pictures_and_classes_count_once():
    """A picture's words of a class are one number, and classes count the same in their mean."""
    pictures = [
        [row("color", 1.0), row("color", 0.0), centre("color", 0.25), row("shape", 1.0)],
        [row("color", 1.0, 0.4), centre("color", 0.25)],
        [],
    ]
    table = summarise(pictures)
    found = {of["class"]: of for of in find_rows(table, segment="clip")}
    assert {name: of["mean"] for name, of in found.items()} == {
        "color": 0.75,
        "shape": 1.0,
        CLASSES: 0.875,
    }
    assert {name: of["n"] for name, of in found.items()} == {"color": 2, "shape": 1, CLASSES: 2}
    assert found["color"]["chance"] == pytest.approx(0.25)
    assert (found["color"]["centre"], found["color"]["gain"]) == (0.25, 0.5)
    assert np.isnan(found["color"]["low"])


def test_intervals_are_over_pictures():
    """Four pictures with two words each have the interval of four numbers."""
    pictures = [[row("color", value), row("color", value)] for value in (0.0, 0.0, 1.0, 1.0)]
    (found,) = find_rows(summarise(pictures), **{"class": "color"})
    assert (found["mean"], found["low"], found["high"], found["n"]) == (0.5, 0.0, 1.0, 4)


def test_segmentation_of_a_set():
    """Sums are over all words of all pictures; flat map and centre stand beside them."""
    pictures = [[row("color", 1.0), flat("color"), centre("color", 0.5)] for _ in range(5)]
    rows = {of["measure"]: of for of in find_rows(summarise_segmentation(pictures), segment="clip")}
    assert {name: of["mean"] for name, of in rows.items()} == pytest.approx(
        {"accuracy": 0.75, "miou": (1 / 2 + 2 / 3) / 2, "map": 1.0}
    )
    assert (rows["map"]["chance"], rows["map"]["centre"]) == pytest.approx((0.1, 0.5))
    assert rows["map"]["gain_low"] == pytest.approx(0.5)


def test_no_pictures_no_table():
    """A model that paints nothing of what was asked for has no score."""
    with pytest.raises(AnalysisError, match="no picture shows anything"):
        summarise([[], []])


def test_tables_are_tidy(tmp_path):
    """Cells that do not apply are empty in the file."""
    rows = [row("color", 1.0), row("color", 0.0, pooling=Pooling("mean"))]
    write_table(summarise([rows]), tmp_path / "scores.csv")
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0] == (
        "segment,class,pooling,layer,head,step,measure,mean,low,high,chance,centre,gain,gain_low,"
        "gain_high,n"
    )
    assert lines[1] == "clip,color,head,3,1,,pointing,1,,,0.1,,,,,1"
    assert lines[3] == "clip,color,mean,,,,pointing,0,,,0.1,,,,,1"
