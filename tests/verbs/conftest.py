"""Small captures with demo models."""

import pytest

SMALL = {"steps": 2, "size": (96, 64)}


@pytest.fixture
def run(opened, tmp_path):
    """Capture into `tmp_path / "run"` with a demo model that is loaded already."""
    from attn.verbs.capture.capture import capture
    from attn.verbs.report import Report

    def small(prompt="a red cat", *, backend="sd35", variant="demo", **arguments):
        pipe = opened(backend, variant).pipe
        given = {"model": pipe, "out": tmp_path / "run", "report": Report()} | SMALL | arguments
        return capture(backend, prompt, **given)

    return small
