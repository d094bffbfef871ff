"""A run of a few traces, one of which fails, and its shards."""

import pytest

from attn.verbs.report import Report
from tests.helpers.toy_runs import capture_fake, contents, use_fake

PROMPTS = ["a red cat", "a dog", "a bad idea", "trees", "rain"]
"""With batches of two: two whole ones, of which one fails, and half a one."""


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    """Capture with the fake family."""
    use_fake(monkeypatch.setattr)


@pytest.fixture(scope="session")
def serial(tmp_path_factory):
    """Everything that a run of one process leaves."""
    folder = tmp_path_factory.mktemp("serial")
    with pytest.MonkeyPatch.context() as patch:
        use_fake(patch.setattr)
        capture_fake(folder / "run", PROMPTS, batch=2, report=Report())
    return contents(folder / "run")


@pytest.fixture
def make():
    """Make some shards of the run, one after the other; return what each made."""

    def shards(out, *names, **arguments):
        options = {"batch": 2, "report": Report()} | arguments
        return [capture_fake(out, PROMPTS, shard=name, **options) for name in names]

    return shards
