"""Word heatmaps scored on what a model painted."""

from dataclasses import astuple, replace

import numpy as np
import pytest

from attn.analysis.tables import write_table
from attn.analysis.words import words
from attn.demo import rendering, scenes
from attn.errors import AnalysisError
from attn.schema import Sequence, find_words
from attn.trace.store import shard_file
from attn.trace.trace import MemoryFiles, Trace
from benchmarks.scoring import judge
from benchmarks.scoring.localise import Score, centre_blob, coarsen, score
from benchmarks.scoring.truth import Pooling, Row, Target, find_targets, score_trace, summarise
from tests.helpers.toy_traces import columns, cross_layer, joint_layer, manifest, sequence, tokens

CAPTION = "a red star left of a blue circle on a white background"
CONTENT = scenes.read(CAPTION)
PROMPT = "a red star on a white background"
STAR = 2
"""Place of its word."""
CROSS = (cross_layer(1, (4, 8), 2), cross_layer(3, (8, 16), 3))
JOINT = (joint_layer(0, (4, 8), 2),)
REGION = np.zeros((32, 32), bool)
REGION[8:16, 4:16] = True
TARGET = Target("star", "shape", REGION)


def paint(content=CONTENT):
    return judge.find(rendering.render(scenes.arrange(content, np.random.default_rng(0)), 128))


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
    """Return the scores of one pooling by (layer, head, steps)."""
    selected = [row for row in rows if row.pooling.name == name]
    return {astuple(row.pooling)[1:]: row.score for row in selected}


def test_words_name_what_was_painted():
    """Colour and shape name their object, the background's words all that is no object."""
    scene = scenes.arrange(CONTENT, np.random.default_rng(0))
    star, circle, rest = rendering.masks(scene, 128)
    result = find_targets(CONTENT, paint())
    names = [(target.word, target.role) for target in result]
    assert names == [
        *[("red", "color"), ("star", "shape"), ("blue", "color"), ("circle", "shape")],
        *[("white", "background color"), ("background", "background")],
    ]
    for target, mask in zip(result, [star, star, circle, circle, rest, rest], strict=True):
        assert (target.region & mask).sum() > 0.97 * (target.region | mask).sum()


def test_what_was_not_painted_has_no_region():
    """An object that the model left out, or another background, is no miss of the heatmap."""
    content = replace(CONTENT, kinds=CONTENT.kinds[:1], relation=None, background="gray")
    assert [target.word for target in find_targets(CONTENT, paint(content))] == ["red", "star"]


def test_a_wrong_shape_is_still_the_object_of_its_colour():
    """Regions are found by colour: the shape word is scored on what was painted in its place."""
    kinds = (scenes.ObjectKind("red", "square"), scenes.ObjectKind("blue", "triangle"))
    result = find_targets(CONTENT, paint(replace(CONTENT, kinds=kinds)))
    assert [target.word for target in result][:4] == ["red", "star", "blue", "circle"]


def test_perfect_heatmaps_have_perfect_scores():
    """Where every head marks the object, every pooling scores 1 on its own grid."""
    rows = score_trace(make(true_heat), [TARGET])
    poolings = [row.pooling for row in rows if row.segment == "clip"]
    heads = [(1, 0), (1, 1), (3, 0), (3, 1), (3, 2)]
    assert set(poolings) == {
        Pooling("default"),
        *(Pooling("steps", steps=part) for part in ("first", "middle", "last")),
        *(Pooling("layer", layer) for layer in (1, 3)),
        *(Pooling("head", layer, head) for layer, head in heads),
    }
    assert len(poolings) == len(set(poolings))
    assert {row.score for row in rows if row.segment == "clip"} == {Score(1, 1, 1)}
    areas = {row.pooling.layer: row.area for row in rows}
    assert areas[1] == coarsen(REGION, (4, 8)).mean()
    assert areas[3] == areas[None] == coarsen(REGION, (8, 16)).mean()


def test_heads_are_scored_one_by_one():
    """A head that points away scores 0, whatever its neighbours do."""

    def heat(layer, head, step):
        away = (layer.index, head) == (3, 1)
        return true_heat(layer) * (-1 if away else 1) / 2 + 0.5

    heads = scores(score_trace(make(heat), [TARGET]), "head")
    assert heads.pop((3, 1, "")).pointing == 0
    assert {item.pointing for item in heads.values()} == {1}


def test_steps_are_scored_in_three_parts():
    """When a word finds its object can be seen."""

    def heat(layer, head, step):
        return true_heat(layer) if step == 2 else 1 - true_heat(layer)

    parts = scores(score_trace(make(heat), [TARGET]), "steps")
    pointing = {steps: part.pointing for (_, _, steps), part in parts.items()}
    assert pointing == {"first": 0, "middle": 0, "last": 1}


@pytest.mark.parametrize("level", ["maps", "heads"])
def test_default_is_the_map_of_the_analysis_words(level):
    """What is scored is what a user sees."""
    rng = np.random.default_rng(5)
    trace = make(lambda layer, *_: rng.random(layer.grid), level=level)
    shown = words.run(trace, words.WordsOptions(words=("star",))).arrays["clip"][0, 0].values
    expected = score(shown, coarsen(REGION, shown.shape))
    assert scores(score_trace(trace, [TARGET]), "default") == {(None, None, ""): expected}


def test_single_heads_need_single_heads():
    """A trace with head means only is scored without single heads, but layer by layer."""
    rows = score_trace(make(true_heat, level="maps"), [TARGET])
    assert scores(rows, "head") == {}
    assert scores(rows, "layer") == {(1, None, ""): Score(1, 1, 1), (3, None, ""): Score(1, 1, 1)}


def test_segments_are_scored_apart():
    """What CLIP's token finds is not mixed with what T5's does; a word that T5 lost has no row."""
    background = Target("background", "background", ~REGION)
    rows = score_trace(make(true_heat, JOINT), [TARGET, background])
    default = {(row.segment, row.word): row for row in rows if row.pooling.name == "default"}
    assert default.keys() == {("clip", "star"), ("clip", "background"), ("t5", "star")}
    assert default["clip", "star"].score.pointing == 1
    assert default["t5", "star"].score.pointing == 0


def test_baselines_know_nothing_of_the_word():
    """Whole picture and centre blob are scored on the same regions, once per word."""
    rows = score_trace(make(true_heat), [TARGET])
    area = coarsen(REGION, (8, 16)).mean()
    assert scores(rows, "whole picture") == {(None, None, ""): Score(area, area, area)}
    centre = score(centre_blob((8, 16)), coarsen(REGION, (8, 16)))
    assert scores(rows, "centre") == {(None, None, ""): centre}


def test_a_region_that_fills_the_grid_is_left_out():
    """On a coarse grid a speck leaves no place that is not background: nothing to be found."""
    speck = np.ones((32, 32), bool)
    speck[0, 0] = False
    assert score_trace(make(true_heat), [Target("white", "background color", speck)]) == []


def test_words_must_be_in_the_prompt():
    """A target of another caption is an error, not a row of zeros."""
    with pytest.raises(AnalysisError, match="the prompt has no word 'blue'"):
        score_trace(make(true_heat), [Target("blue", "color", REGION)])


def row(word, pointing, area=0.1):
    return Row("clip", "color", word, Pooling("head", 3, 1), area, Score(pointing, 0.5, 0.25))


def test_pictures_count_once():
    """A picture with two objects weighs as much as one with one; intervals are over pictures."""
    pictures = [[row("red", 1.0), row("blue", 0.0)], [row("red", 1.0, 0.4)], []]
    cells = summarise(pictures)
    assert cells["measure"].tolist() == ["pointing", "iou", "precision"]
    assert cells["mean"].tolist() == [0.75, 0.5, 0.25]
    assert cells["chance"].tolist() == pytest.approx([0.25] * 3)
    assert cells["n"].tolist() == [2] * 3
    assert (cells["low"][0], cells["high"][0]) == (0.5, 1.0)
    assert (cells["layer"][0], cells["head"][0], cells["steps"][0]) == (3, 1, "")


def test_no_pictures_no_table(tmp_path):
    """A model that paints nothing of what was asked for has no score."""
    with pytest.raises(AnalysisError, match="no picture shows anything"):
        summarise([[], []])


def test_tables_are_tidy(tmp_path):
    """Cells that do not apply are empty in the file."""
    rows = [row("red", 1.0), replace(row("red", 0.0), pooling=Pooling("default"))]
    write_table(summarise([rows]), tmp_path / "scores.csv")
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0] == "segment,class,pooling,layer,head,steps,measure,mean,low,high,chance,n"
    assert lines[1] == "clip,color,head,3,1,,pointing,1,1,1,0.1,1"
    assert lines[4] == "clip,color,default,,,,pointing,0,0,0,0.1,1"
