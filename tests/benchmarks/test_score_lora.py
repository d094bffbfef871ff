"""The scoring of demo LoRAs: what is expected of a comparison, and the whole way to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pandas import DataFrame

from attn.analysis.tables import make_frame
from attn.demo import scenes
from benchmarks.demo import score_lora
from benchmarks.training import lora
from tests.helpers.models import lora_demo

pytestmark = pytest.mark.usefixtures("undrawn")
FILES = ("square.peft.safetensors", "square.kohya.safetensors")


def table(**changes: tuple[float, float, float]) -> DataFrame:
    """Return a table of masses, the largest change first, of two spellings that agree."""
    rows = sorted(changes.items(), key=lambda row: -abs(row[1][0])) * 2
    names = [file.removesuffix(".safetensors") for file in FILES]
    columns: dict[str, Any] = {
        "word": np.array([word for word, _ in rows], object),
        "occurrence": np.ones(len(rows), int),
        "segment": np.full(len(rows), "clip", object),
        "variant_name": np.repeat(np.array(names, object), len(changes)),
    }
    numbers = np.array([row for _, row in rows])
    return make_frame(columns | dict(zip(("change", "low", "high"), numbers.T, strict=True)))


def verdicts(**changes: tuple[float, float, float]) -> list[bool]:
    result = score_lora.changes(table(**changes), FILES[0])
    return [holds for holds, _ in score_lora.judge_changed("square", result)]


def test_known_effect() -> None:
    """The changed word must lead, be clear of 0, and lead by a factor of three."""
    clear, other = (-0.06, -0.07, -0.05), (0.02, -0.01, 0.05)
    assert verdicts(red=other, square=clear) == [True, True, True]
    assert verdicts(red=other, square=(-0.06, -0.2, 0.1)) == [True, False, True]
    assert verdicts(red=(0.021, 0.0, 0.0), square=clear) == [True, True, False]
    assert verdicts(red=(0.07, 0.0, 0.0), square=clear) == [False, True, False]


def test_untouched_captions() -> None:
    """Without the word all changes stay below a third of that of the word."""
    result = score_lora.changes(table(red=(0.02, 0, 0), a=(-0.03, 0, 0)), FILES[0])
    assert [score_lora.judge_rest("square", result, new)[0] for new in (0.09, 0.08)] == [
        True,
        False,
    ]


def test_spellings() -> None:
    """Rows of two spellings are matched by their labels, and any number that differs counts."""
    good = table(red=(0.02, 0, 0), square=(-0.03, 0, 0))
    assert score_lora.judge_spellings({"mass.csv": good})[0]
    good.loc[3, "high"] += 2e-5
    holds, text = score_lora.judge_spellings({"mass.csv": good})
    assert (holds, text) == (False, "tables of the two spellings differ by 2.0e-05 at most")


@pytest.mark.parametrize("name", lora.EFFECTS)
def test_captions(name: str) -> None:
    """Captions have one object and two, and were never seen in training."""
    effect = lora.EFFECTS[name]
    selected = score_lora.choose(effect, 4)
    assert [len(content.kinds) for content in selected] == [1, 2, 2, 1]
    assert all(map(scenes.is_held_out, selected))
    assert all(effect.word in scenes.caption(content) for content in selected)
    assert len(set(selected)) == 4


@pytest.mark.slow
def test_from_files_to_verdicts(
    tmp_path: Path,
    opened: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command compares both spellings of a LoRA; one that is not trained fails, but agrees."""
    pairs = lora_demo.changes(opened("sdxl").pipe, "unet")
    for file, write in zip(FILES, (lora_demo.peft, lora_demo.kohya), strict=True):
        write(tmp_path / file, pairs)
    arguments = f"sdxl --files {tmp_path} --prompts 1 --seeds 2 --steps 1 --out {tmp_path}/out"
    monkeypatch.setattr("sys.argv", ["score_lora", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        score_lora.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(" background")
    assert " square on a " in lines[0]
    judged = [line for line in lines if line[:5] in ("holds", "FAILS")]
    assert len(judged) == 5
    assert judged[3].startswith("holds  tables of the two spellings differ by ")
    assert ended.value.code == any(line.startswith("FAILS") for line in judged)
    assert (tmp_path / "out/0-with/comparison/variants/square.kohya").is_dir()
    assert (tmp_path / "out/0-without/comparison/summary.png").is_file()
