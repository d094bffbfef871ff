"""Gated models from the command line: captured, analysed, and compared with themselves ungated."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from attn.cli import build
from tests.helpers.toy_traces import read_csv

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("demo_cache", "undrawn")]
CAPTURE = "-p|a red cat|--size|96x64|--steps|2|--seed|0,1|--keep|means|-o"


def run(*arguments):
    """Run a command; return its exit code and its two outputs."""
    result = CliRunner().invoke(build(), arguments)
    return result.exit_code, result.stdout, result.stderr


def capture(out, *more, backend="gated"):
    """Capture two seeds of the demo."""
    return run("capture", "-b", backend, *CAPTURE.split("|"), out, *more)


def test_gated_against_ungated(tmp_path, monkeypatch):
    """The whole way: two runs from the same noise, tables and maps of gates and of what changed."""
    monkeypatch.chdir(tmp_path)
    assert capture("gated")[:2] == (0, "2 traces in gated\n")
    assert capture("off", "--set", "gate=off")[:2] == (0, "2 traces in off\n")
    code, stdout, _ = run("analyze", "gated", "--only", "gates")
    assert code == 0
    assert sorted(path.name for path in Path("gated/0001/analysis/gates").iterdir()) == [
        *("gates.csv", "gates_summary.csv"),
        *("layer_head_heatmap_image.png", "layer_head_heatmap_text.png"),
        *("timestep_curve_image.png", "timestep_curve_text.png"),
    ]
    joined = read_csv(Path("gated/analysis/gates_summary.csv"))
    assert {(row["trace"], row["part"]) for row in joined} == {
        (trace, part) for trace in ("0000", "0001") for part in ("image", "text")
    }
    code, stdout, stderr = run("analyze", "off", "--only", "gates")
    assert code == 1
    assert "'gates' needs gates, which act on no captured layer" in stderr
    code, stdout, stderr = run("compare", "off", "gated", "-o", "out", "--only", "sinks")
    assert (code, stderr) == (0, "")
    lines = stdout.splitlines()
    assert lines[0] == "gated against off, 2 pairs of images"
    assert lines[-6:] == [
        *("out/comparison", "  tables/sinks.csv", "  tables/sinks_heads.csv", "  sinks.png"),
        *("  report.html", "  comparison.json"),
    ]
    rows = read_csv(Path("out/comparison/tables/sinks_heads.csv"))
    assert len(rows) == 5 * 3  # layers and heads
    changes = {row["layer"]: float(row["change"]) for row in rows}
    assert all(changes.values())
    assert capture("sd35", backend="sd35")[:2] == (0, "2 traces in sd35\n")  # of the same weights
    code, stdout, stderr = run("compare", "sd35", "gated", "-o", "other", "--only", "sinks")
    assert (code, stderr) == (0, "")
    assert stdout.splitlines()[0] == "gated against sd35, 2 pairs of images"
    other = Path("other/comparison/tables/sinks_heads.csv")
    assert other.read_bytes() == Path("out/comparison/tables/sinks_heads.csv").read_bytes()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "gate_type=elementwise",
            "gate_type=elementwise: joint_blocks.0.x_block.attn has the gate",
        ),
        ("gate_layers=9", "gate_layers: no layer with gates matches '9'"),
        ("gates=off", "backend gated has no option 'gates'. Did you mean 'gate'?"),
    ],
)
def test_bad_settings(tmp_path, setting, message):
    """What a gated model cannot do is said in one line, with what is expected."""
    code, _, stderr = capture(str(tmp_path / "out"), "--set", setting)
    assert code == (2 if setting.startswith("gates=") else 1)
    assert message in stderr
