"""`attn evaluate`, from the command line to the page."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

import attn
from attn.cli import build
from attn.verbs.evaluate.answer import tell_scores
from tests.helpers.toy_traces import manifest, write_collection, write_trace

CAT = np.zeros((40, 24), np.uint8)
CAT[4:20, 3:11] = 255


def run(*arguments):
    """Return exit code, stdout and stderr of a command."""
    result = CliRunner().invoke(build(), ["evaluate", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Four pictures, and masks of a word in three of them."""
    base = tmp_path_factory.mktemp("evaluate")
    write_collection(base / "run", range(4))
    for name in ("0000", "0001", "0002"):
        (base / "masks" / name).mkdir(parents=True)
        Image.fromarray(CAT).save(base / "masks" / name / "cat.png")
    (base / "masks" / "0003").mkdir()
    return base


@pytest.fixture(scope="module")
def done(folders):
    """Score them."""
    return attn.evaluate(folders / "run", truth=folders / "masks", sinks=True)


def test_results(done, folders):
    """Tables, figure and page stand in one folder; what is not known of is left out and said."""
    assert done.path == folders / "run" / "evaluation"
    assert sorted(path.name for path in done.path.iterdir() if path.name[0] != ".") == sorted(
        done.files
    )
    assert done.files[:2] == ("scores.csv", "segmentation.csv")
    assert done.warnings == (f"{folders / 'masks'} says nothing of 0003: left out",)
    scores = done.tables["scores.csv"]
    assert set(scores["n"]) == {3}
    assert set(scores["pooling"]) == {"whole picture", "centre", "mean", "daam", "layer", "step"}
    assert set(scores["class"]) == {"cat", "mean of classes"}


def test_choices_are_said(done):
    """How it was scored stands with the result, on the page and in JSON."""
    page = (done.path / "report.html").read_text(encoding="utf-8")
    facts = json.loads((done.path / "evaluation.json").read_text(encoding="utf-8"))
    assert facts["choices"] == done.choices
    assert "averaging micro: sums over all pictures" in page
    assert done.answer.startswith("These are too few pictures to tell whether maps find what")
    assert done.answer in page.replace("\n", " ") or "too few pictures" in page


def test_command_line(folders, tmp_path):
    """The answer first, then the choices, then the files."""
    code, stdout, stderr = run(
        *(folders / "run" / "0001", "--truth", folders / "masks", "--out", tmp_path / "out"),
        *("--thresholds", "0.4", "--no-pictures", "--words", "cat"),
    )
    assert (code, stderr) == (0, "")
    assert stdout.startswith("These are too few pictures to tell whether maps find what words name")
    assert "\noverlap: iou@T: the map, scaled to 0-1, is at least T; 0.4\n" in stdout
    assert stdout.endswith(
        f"{tmp_path / 'out'}\n  scores.csv\n  segmentation.csv\n  report.html\n  evaluation.json\n"
    )
    table = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert {name for name in table["measure"] if "iou" in name} == {"iou@0.4"}


def test_json(folders, tmp_path):
    """One object with the choices, for scripts."""
    code, stdout, _ = run(folders / "run", "--sinks", "--json", "-o", tmp_path / "out")
    answer = json.loads(stdout)
    assert (code, answer["command"], answer["status"]) == (0, "evaluate", "complete")
    assert answer["answer"].startswith("In the mean of layers, heads and steps Rulli's rule")
    assert answer["files"] == [
        *("sink_rules.csv", "dominant_keys.csv", "dominant_changes.csv"),
        *("report.html", "evaluation.json"),
    ]


WRONG = {
    (): (2, "truth: nothing to hold maps against; give --truth shapes"),
    ("--truth", "nowhere"): (1, "nowhere is no folder of masks; give --truth shapes"),
    ("--truth", "shapes"): (1, "is no caption of the shapes world"),
    ("--sinks", "--thresholds", "2"): (2, "thresholds: expected numbers above 0, up to 1; got"),
}


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong(arguments, tmp_path, monkeypatch):
    """What cannot be done is one line, and leaves nothing."""
    monkeypatch.chdir(tmp_path)
    write_trace(tmp_path / "trace", manifest(samples=1))
    code, stdout, stderr = run("trace", *arguments)
    expected, message = WRONG[arguments]
    assert (code, stdout) == (expected, "")
    assert message in stderr
    assert not (tmp_path / "trace" / "evaluation").exists()


def test_no_picture_is_known(folders, tmp_path):
    """Masks of other pictures are no result."""
    shutil.copytree(folders / "masks", tmp_path / "masks")
    for name in ("0000", "0001", "0002"):
        (tmp_path / "masks" / name).rename(tmp_path / "masks" / f"other-{name}")
    code, _, stderr = run(folders / "run", "--truth", tmp_path / "masks", "-o", tmp_path / "out")
    assert code == 1
    assert "says nothing of 0000, 0001, 0002, 0003: there is no word of these prompts" in stderr


def frame(**values):
    """Return tables with one mean over layers, and one layer, in pointing."""
    common = {"segment": "clip", "class": "mean of classes", "measure": "pointing", "n": 16}
    layer = {"pooling": "layer", "layer_name": "up.1", "mean": 0.9, "low": 0.85, "high": 0.95}
    gains = {"gain_low": 0.1, "gain_high": 0.3, "chance": 0.1, "centre": 0.2}
    mean = {"pooling": "mean", "layer_name": "", "mean": 0.6, "low": 0.5, "high": 0.7}
    rows = [common | gains | mean | values, common | gains | layer, common | gains | layer]
    return pd.DataFrame(rows), pd.DataFrame(columns=["segment", "pooling", "measure"])


ANSWERS = {
    "The maps of words find what the words name: ": {},
    "The maps of words are not shown to find what the words name: ": {"gain_low": -0.1},
    "The maps of words do not find what the words name: ": {"gain_low": -0.3, "gain_high": -0.1},
    "These are too few pictures to tell whether": {"gain_low": np.nan, "low": np.nan},
}


@pytest.mark.parametrize("start", ANSWERS)
def test_answer_claims_what_its_interval_shows(start):
    """Better than a blob in the middle, worse, or neither."""
    assert tell_scores(*frame(**ANSWERS[start]))[0].text.startswith(start)


def test_a_layer_that_is_better_is_named():
    """The mean must not hide a layer that points: it is told, and that it is flattered."""
    told = " ".join(sentence.text for sentence in tell_scores(*frame()))
    assert "The layer up.1 alone points better than the mean over layers, in 90 %" in told
    told = " ".join(sentence.text for sentence in tell_scores(*frame(high=0.9)))
    assert "alone points better" not in told
