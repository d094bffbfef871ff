"""Runs that workers make: what one process would have left, whoever of them dies."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import attn
from attn.backends.plugins.registry import installed
from attn.errors import UsageError
from attn.verbs.report import Report
from attn.verbs.workers.crews import require_plain
from attn.verbs.workers.local import LocalCrew
from benchmarks.cluster.stub import AHEAD, FULL, LACKING, write_plugin
from tests.helpers.processes import WORKERS, KillingReport, running
from tests.helpers.toy_runs import contents
from tests.verbs.workers.conftest import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("demo_cache", "stub", "marked")]


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    """The stub family, for this process and those that it starts."""
    folder = tmp_path_factory.mktemp("plugins")
    write_plugin(folder)
    root = str(Path(attn.__file__).parents[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", os.pathsep.join([root, str(folder)]))
        installed.cache_clear()
        yield
        installed.cache_clear()


TOY = {"model": "demo", "size": (24, 16), "steps": 2, "batch": 2}
PROMPTS = ["a red cat", "a bad idea", "a dog", "the exit", "trees"]
LOST = "3 workers were lost while it was made, the last so: "


@pytest.fixture(scope="module")
def whole(stub, tmp_path_factory):
    """The traces that a run of one process leaves of what neither fails nor exits."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    prompts = [prompt.replace("exit", "bad") for prompt in PROMPTS]
    attn.capture("stub", prompts, out=folder, seed=range(2), report=Report(), **TOY)
    return contents(folder)


def test_killed_worker(tmp_path):
    """With a worker killed meanwhile the run is complete, and bit for bit that of one process."""
    report = KillingReport({1: lambda: running(*WORKERS)[0]})
    run = {"seed": range(4), "steps": 2, "keep": "mass", "size": (24, 16), "model": "demo"}
    out = tmp_path / "run"
    done = attn.capture("stub", "a red cat", out=out, workers=2, report=report, **run)
    assert (len(done.failures), len(report.killed)) == (0, 1)
    attn.capture("stub", "a red cat", out=tmp_path / "serial", report=Report(), **run)
    assert contents(out) == contents(tmp_path / "serial")
    wait_until(lambda: not running(*WORKERS))  # they end when they are not needed


def traces(left, *numbers):
    """Return what is in the folders of traces, by file."""
    starts = tuple(f"{number:04d}/" for number in numbers)
    return {name: content for name, content in left.items() if name.startswith(starts)}


@pytest.fixture(params=["local", "ray"])
def engine(request):
    """Where workers are."""
    if request.param == "ray":
        request.getfixturevalue("ray_alone")
    return request.param


def test_hostile(engine, tmp_path, monkeypatch, whole):
    """What workers and items meet is said of each, and costs nobody else a bit.

    A worker lacks a package, one has a full disk, one is a year ahead; an item fails, one ends
    every process that makes it.
    """
    for name in (LACKING, FULL, AHEAD):
        monkeypatch.setenv(name, str(tmp_path / name))
    report, out = Report(), tmp_path / "run"
    crew = {"workers": 3, "engine": engine, "report": report}
    done = attn.capture("stub", PROMPTS, out=out, seed=range(2), **TOY, **crew)
    errors = [entry.error for entry in done.entries]
    good = [0, 1, 4, 5, 8, 9]
    assert [at for at, error in enumerate(errors) if error is None] == good
    assert errors[2:4] == ["the dog ate it"] * 2
    assert all(error.startswith(LOST) for error in errors[6:8])
    assert traces(contents(out), *good) == traces(whole, *good)
    told = "\n".join(report.warnings)
    for reason in ("others go on: could not write", "it failed, and is made again: the dog"):
        assert reason in told


def test_loaded_once(tmp_path, monkeypatch):
    """All variants of a comparison are made by the same workers, as one process makes them.

    Of a family with a real pipeline, which the worker opens for itself.
    """
    begun, begin = [], LocalCrew._begin
    monkeypatch.setattr(LocalCrew, "_begin", lambda *of: begun.append(of[1]) or begin(*of))
    run = {"model": "demo", "seed": range(2), "steps": 1, "size": (64, 48), "random": 1}
    for out, workers in (("crew", 1), ("serial", None)):
        told = {"report": Report(), "pictures": False, "out": tmp_path / out}
        attn.ablate("sd15", "a red cat", cut="cat", workers=workers, **run, **told)
    assert begun == [0]
    left, serial = (contents(tmp_path / out) for out in ("crew", "serial"))
    made = {name for name in serial if not name.startswith("comparison/")}
    assert {name: left[name] for name in made} == {name: serial[name] for name in made}
    assert {Path(name).parts[0] for name in made} == {"base", "cat-cut", "random-0-like-cat"}


def test_a_sample_of_the_campaign():
    """After a kill of a driver all is there once, and little was made again.

    What a killed worker leaves, `test_killed_worker` looks at.
    """
    code = "from benchmarks.campaign.workers import run; print(json.dumps(run(1, 3, ['driver'])))"
    done = subprocess.run(
        [sys.executable, "-c", f"import json; {code}"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=Path(attn.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result.pop("most batches made again") <= 2
    assert result == {"local driver": 1}


def test_loaded_pipeline():
    """A model that is loaded here cannot be had by other processes."""
    with pytest.raises(UsageError, match="workers open the model themselves"):
        require_plain(object())
