"""`attn capture --resume`: whole outputs, exit codes, and processes that are killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import attn
from attn.cli import build
from tests.helpers.toy_runs import contents, use_fake

ROOT = Path(attn.__file__).parents[1]
SMALL = ("--steps", "2", "--size", "16x24", "--device", "cpu", "-o", "out", "--resume")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run `attn capture --resume -o out` with the fake family; return code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    use_fake(monkeypatch.setattr)

    def capture(*prompts, arguments=()):
        typed = [text for prompt in prompts for text in ("-p", prompt)]
        result = CliRunner().invoke(build(), ["capture", "-b", "fake", *SMALL, *typed, *arguments])
        told = result.stderr.splitlines()
        shown = [line for line in told if not line.startswith(("step ", "model: "))]
        return result.exit_code, result.stdout, "\n".join(shown)

    return capture


def test_ordinary(run):
    """Without an earlier run --resume is no matter."""
    assert run("a cat", "a dog") == (0, "2 traces in out\n", "")


def test_nothing_to_do(run):
    """A finished run exits with 0, and says that there was nothing to do."""
    run("a cat", "a dog")
    said = "nothing to do: all 2 traces in out are complete"
    assert run("a cat", "a dog") == (0, "2 traces in out\n", said)


def test_another_run(run):
    """Another run is wrong usage, and exits with 2."""
    run("a cat", "a dog")
    said = (
        "Error: out holds another run than this one (was → now): 0001: prompt: a dog → a fox. "
        "Nothing was changed; ask for the same run, or choose another folder with --out"
    )
    assert run("a cat", "a fox") == (2, "", said)


def test_no_folder(run):
    """Without --out there is nothing to go on with."""
    result = CliRunner().invoke(
        build(), ["capture", "-b", "fake", "-m", "x", "-p", "a", "--resume"]
    )
    said = "Error: resume: say which folder to go on with, with --out DIR\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", said)


FAILED = (
    "failed: 0001 ('a bad dog', seed 0): the dog ate it\n"
    "1 of 3 traces failed; the others are complete. The reasons are in out/index.json; "
    "--resume tries these again"
)


def test_failing_prompt(run):
    """A failing prompt costs the exit code, not the others; --resume tries it again."""
    prompts = "a cat", "a bad dog", "a tree"
    assert run(*prompts) == (1, "3 traces in out\n", FAILED)
    left = "resuming out: 2 of 3 traces are complete, 1 failed and will be tried again; "
    assert run(*prompts) == (1, "3 traces in out\n", f"{left}6.6 kB to write\n{FAILED}")


def test_failing_prompt_in_a_batch(run):
    """A batch that fails is said, and made one by one."""
    said = (
        "Warning: the batch 0000 to 0001 failed (the dog ate it); its traces are made one by one\n"
        "Warning: made alone, because its batch of 2 failed: the dog ate it\n"
    )
    code, _, stderr = run("a cat", "a bad dog", "a tree", arguments=("--batch", "2"))
    assert (code, stderr) == (1, said + FAILED)


def test_many_failures(run):
    """Of many failures the first are named and all are counted."""
    prompts = [f"bad {'w' * 90}{number}" for number in range(12)]
    code, _, stderr = run(*prompts)
    lines = [line for line in stderr.splitlines() if not line.startswith("Warning: ")]
    assert (code, len(lines)) == (1, 11)
    assert lines[9] == f"failed: 0009 ('bad {'w' * 76}…', seed 0): the dog ate it"
    assert lines[10] == (
        "12 of 12 traces failed. The reasons are in out/index.json; --resume tries these again"
    )


def test_failures_as_json(run):
    """With --json the failures are in the object too, and the messages on stderr only."""
    code, stdout, stderr = run("a cat", "a bad dog", "a tree", arguments=("--json",))
    assert (code, stderr) == (1, FAILED)
    assert [entry["error"] for entry in json.loads(stdout)["traces"]] == [
        None,
        "the dog ate it",
        None,
    ]


def test_dry_run_over_budget(run):
    """A dry run says that the real one would be refused, with both numbers."""
    arguments = ("--dry-run", "--budget", "10KB")
    code, stdout, stderr = run("a cat", "a dog", arguments=arguments)
    assert (code, stdout.splitlines()[-1]) == (0, "one trace: 6.5 kB; in all 13.1 kB")
    assert stderr == (
        "Warning: this capture would write 13.1 kB, more than the budget of 10.0 kB; keep less "
        "(--keep means, fewer --layers or --blocks, --keys content), or raise --budget"
    )


def test_half_characters(run):
    """Half a character in a file of prompts is told with its place."""
    Path("prompts.json").write_text('["a cat", "\\ud800"]')
    said = (
        "Error: prompts.json, entry 1: character 0 (\\ud800) is no whole character but half of a "
        "pair, or a byte that is not UTF-8; leave it out, or write it in full"
    )
    assert run(arguments=("--prompts", "prompts.json")) == (2, "", said)


GENERATED = (
    *("capture", "-b", "sd35", "--prompts", "p.txt", "--seed", "0-1", "--batch", "3"),
    *("--steps", "2", "--size", "32x32", "--guidance", "1", "--device", "cpu", "-o"),
)


@pytest.mark.slow
def test_killed_process(trained, tmp_path, monkeypatch):
    """A whole process, killed while it generates, leaves what --resume makes whole, bit for bit."""
    monkeypatch.chdir(tmp_path)
    Path("p.txt").write_text("".join(f"a cat number {n}\n" for n in range(10)))
    process = subprocess.Popen(
        [sys.executable, "-m", "attn", *GENERATED, "out"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not process.stderr.readline().startswith("step "):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run ended before it was killed"
    whole = CliRunner().invoke(build(), [*GENERATED, "whole"])
    last = CliRunner().invoke(build(), [*GENERATED, "out", "--resume"])
    assert (whole.stdout, last.stdout) == ("20 traces in whole\n", "20 traces in out\n")
    assert "\nresuming out: " in last.stderr
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
