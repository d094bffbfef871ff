"""The scoring of demo models: tables, figure, and the whole way from prompts to files."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attn.analysis.scores.poolings import Pooling
from attn.analysis.scores.scored import MapScore
from attn.analysis.scores.summary import summarise
from attn.analysis.tables import make_frame
from attn.demo import judge, rendering, scenes, trained
from attn.demo.quiet import without_progress_bars
from benchmarks.demo import score_demo
from benchmarks.figures import draw_heads

CONTENT = scenes.read("a red star left of a blue circle on a white background")
PERFECT = judge.Verdict(True, True, (True, True), (True, True), True)
HALF = judge.Verdict(False, True, (True, True), (True, False), None)


def row(pooling: Pooling, pointing: float = 0.75) -> MapScore:
    return MapScore("clip", "color", "red", pooling, 0.125, {"pointing": pointing}, None)


def test_agreement_counts_objects(capsys: pytest.CaptureFixture[str]) -> None:
    """Shapes are counted one by one, relations only where one was asked for."""
    score_demo.print_agreement([PERFECT, HALF])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["class", "right", "low", "high", "n"],
        ["background", "0.500", "0.000", "1.000", "2"],
        ["number", "1.000", "1.000", "1.000", "2"],
        ["color", "1.000", "1.000", "1.000", "4"],
        ["shape", "0.750", "0.500", "1.000", "4"],
        ["relation", "1.000", "1.000", "1.000", "1"],
        ["everything", "0.500", "0.000", "1.000", "2"],
    ]


def test_printed_table_leaves_out_single_layers(capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed fits a screen; the file has the rest."""
    poolings = [Pooling("mean"), Pooling("step", step=2), Pooling("head", 3, 1)]
    table = make_frame(summarise([[row(pooling) for pooling in poolings]] * 4))
    score_demo.print_scores(table)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 2
    assert lines[1:3] == [
        "segment class             pooling        measure       mean    low   high chance     n",
        "clip    color             mean           pointing     0.750  0.750  0.750  0.125     4",
    ]


def test_figure_shows_layers_of_different_widths(tmp_path: Path) -> None:
    """Layers need not have the same number of heads."""
    poolings = [Pooling("mean"), Pooling("head", 3, 0), Pooling("head", 5, 0)]
    poolings += [Pooling("head", 5, 1)]
    table = make_frame(summarise([[row(pooling) for pooling in poolings]]))
    draw_heads(table, tmp_path / "heads.png")
    assert (tmp_path / "heads.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sdxl", "gated"])
def test_from_prompts_to_files(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command runs on models in either layout, and leaves its files and no traces."""
    pipeline: Any = trained.PIPELINES[name]()
    with without_progress_bars():
        pipeline.save_pretrained(tmp_path / "model")
    scene = rendering.render(scenes.arrange(CONTENT, np.random.default_rng(0)), 128)
    result = judge.find(scene)
    monkeypatch.setattr(judge, "find", lambda _: result)  # untrained models paint noise
    monkeypatch.setattr(scenes, "held_out", lambda: [CONTENT] * 5)
    arguments = f"{name} --model {tmp_path}/model --prompts 2 --steps 3 --out {tmp_path}/out"
    monkeypatch.setattr("sys.argv", ["score_demo", *arguments.split()])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "traces"))
    (tmp_path / "traces").mkdir()
    score_demo.main()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("heads.png", "pictures.png", "scores.csv"),
    ]
    assert list((tmp_path / "traces").iterdir()) == []
    with (tmp_path / "out" / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["n"] for row in rows} == {"2"}
    segments = {"", "clip"} if name == "sdxl" else {"", "clip", "t5", "text"}
    assert {row["segment"] for row in rows} == segments
    assert {row["pooling"] for row in rows} >= {"mean", "step", "layer", "head", "centre"}
    assert "everything    1.000  1.000  1.000     2" in capsys.readouterr().out
