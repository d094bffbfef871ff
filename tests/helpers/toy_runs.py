"""Small captures of the fake family, and what has to be equal in two of them."""

import json
from pathlib import Path
from types import SimpleNamespace

import attn.verbs.capture.capture as verb
from attn.backends.testing import FakeBackend
from attn.errors import CaptureError
from attn.trace.store import open_files
from attn.verbs.capture.collection import read_index

OWN = {
    "analysis.json": ("manifests",),
    "trace.json": ("environment", "cost", "sha256"),
    ".attn.json": ("pid", "started", "sha256"),
}
"""What files say of the time and place of their making."""


class Failing(FakeBackend):
    """A fake family that fails in the second step of what is called bad."""

    def open(self, *arguments, **keywords):
        session = super().open(*arguments, **keywords)
        generate = session.generate

        def fail(requests, on_call):
            is_bad = any("bad" in request.prompt for request in requests)

            def on_bad_call(call):
                on_call(call)
                if is_bad and call.step > 0:
                    raise CaptureError("the dog ate it")

            return generate(requests, on_bad_call)

        session.generate = fail
        return session


def use_fake(patch=setattr):
    """Let every capture be one of the fake family; `patch` is `setattr` or a monkeypatch's."""
    patch(
        verb,
        "find",
        lambda name: SimpleNamespace(spec=SimpleNamespace(name="fake"), distribution="attn"),
    )
    patch(verb, "guarded", lambda registered: Failing())


def capture_fake(out, prompts, **arguments):
    """Capture with the fake family: milliseconds a trace."""
    given = {"steps": 2, "size": (16, 24), "device": "cpu"} | arguments
    return verb.capture("fake", prompts, model="demo", out=out, **given)


def contents(folder):
    """Return every file below a folder by name, manifests without time and place."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): _content(path) for path in files}


def _content(path):
    if path.name not in OWN:
        return path.read_bytes()
    fields = json.loads(path.read_text())
    if isinstance(fields.get("files"), dict):  # its digest is that of manifests with their times
        fields["files"].pop("analysis.json", None)
    return {key: value for key, value in fields.items() if key not in OWN[path.name]}


def check_left(folder, whole, *, exact=True):
    """Check what a killed or failed run left, against the contents of an unbroken one.

    Args:
        folder: of the run.
        whole: contents of an unbroken run.
        exact: whether partial traces hold what the whole ones will. Not where a batch is about to
            fail, since its members are then made anew, alone.

    Returns:
        the status of every trace, `pending` where there is none.
    """
    if "trace.json" in whole:
        return [_check_trace(folder, whole, exact)]
    entries = read_index(folder) if (folder / "index.json").exists() else ()
    statuses = []
    for entry in entries:
        start = f"{entry.folder}/"
        own = {name[len(start) :]: value for name, value in whole.items() if name.startswith(start)}
        statuses.append(_check_trace(folder / entry.folder, own, exact))
        if entry.status == "complete":
            assert statuses[-1] == "complete", f"{folder}: {entry} is {statuses[-1]}"
    return statuses


def _check_trace(folder, whole, exact):
    if not (folder / "trace.json").exists():
        return "pending"
    files = open_files(folder)
    files.verify()
    status, steps = files.manifest.status, [step.index for step in files.manifest.steps]
    assert steps == list(range(len(steps)))
    if status == "complete":
        assert contents(folder) == whole, f"{folder} says complete, but is not"
    elif exact:
        for shard in files.manifest.shards:
            assert (folder / shard.file).read_bytes() == whole[shard.file]
    return status
