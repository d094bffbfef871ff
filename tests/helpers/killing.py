"""Run captures in forked processes and kill them: the script of `failures/test_kills.py`.

Everything is imported once, here; a child that is forked begins at once. The parent stays without
threads: what it runs itself ends them before the next fork.

Prints one JSON object: how many runs and kills there were of each kind, and what the kills left.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path

import torch

from attn.errors import AttnError
from attn.verbs.analyze.analyze import analyze
from attn.verbs.capture.collection import read_index
from tests.helpers.toy_runs import capture_fake, check_left, contents, use_fake

SCENES = {
    "batches": {"prompts": ["a red cat", "a dog", "a tree", "rain", "sun"], "batch": 2},
    "failing": {
        "prompts": ["a red cat", "a bad dog", "a tree", "rain"],
        "batch": 3,
        "seed": (3, 5),
    },
    "means": {"prompts": ["a red cat", "a dog"], "keep": "means", "images": 2, "steps": 3},
    "single": {"prompts": ["a red cat"], "steps": 6},
}
SMALL = {
    "batches": {"prompts": ["a red cat", "a dog", "a tree"], "batch": 2, "steps": 1},
    "failing": {"prompts": ["a bad dog", "a tree"], "batch": 2},
    "single": {"prompts": ["a red cat"]},
}
LONG = {
    "prompts": [f"{beginning}{' and a red cat' * 9}" for beginning in ("a dog", "a tree", "rain")],
    "steps": 1,
}
"""Prompts of which the fake family reads only the beginning."""
STRIDE, ANALYSIS_STRIDE = 43, 11
"""Changes between two places where a run with its analysis is killed: prime, to meet all kinds."""
STRIDES = {"batches": 5, "failing": 7, "single": 2}
"""The same for the small scenes; `benchmarks.campaign` kills a run at every place."""
MOST = 10
"""Kills of one run; the next one comes to its end."""
LONGER = 1.2
"""A killer waits for up to so many times what is left, so that some runs escape."""
TICK = 0.0005
"""Seconds between two looks at a child."""


def at_random(folder, kills, seed):
    """Kill runs of every scene at random moments, until they are enough."""
    chance, result = random.Random(seed), Counter()
    for number, (name, scene) in enumerate(SCENES.items()):
        share = kills * (number + 1) // len(SCENES) - kills * number // len(SCENES)
        _kill_scene(folder / name, scene, share, chance, result)
    return dict(result)


def between_changes(folder, name):
    """Kill a run before changes to the disk all over it, in order, and resume each time."""
    scene, stride = SMALL[name], STRIDES[name]
    whole, result = _whole(folder, scene), Counter()
    while result["kills"] == result["runs"]:
        out = folder / str(result["runs"])
        child = _fork(out, scene, before_change=1 + stride * result["runs"])
        result["runs"] += 1
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            result["kills"] += 1
            result[_check(out, scene, whole)] += 1
        _finish(out, scene, whole)
    return dict(result)


def analysed(folder):
    """Kill a capture that analyses what it made, at places all over it, and start it again."""
    whole = folder / "whole" / "run"
    _capture_and_analyze(whole, **LONG)
    expected, result = contents(whole), Counter()
    change = 1
    while True:
        out = folder / str(change) / "run"
        status = os.waitpid(_fork(out, LONG, change, _capture_and_analyze), 0)[1]
        if not os.WIFSIGNALED(status):
            return dict(result)
        is_missing = _is_missing(out)
        result["in capture" if is_missing else "in analysis"] += 1
        change += STRIDE if is_missing else ANALYSIS_STRIDE
        assert os.waitpid(_fork(out, LONG, None, _capture_and_analyze), 0)[1] == 0
        assert contents(out) == expected, f"{out} differs from an unbroken run"


def _capture_and_analyze(out, **scene):
    capture_fake(out, **scene)
    analyze(out, pictures=False)


def _is_missing(out):
    """Whether a trace of the collection is not complete."""
    is_begun = (out / "index.json").exists()
    return not is_begun or any(entry.status != "complete" for entry in read_index(out))


def _kill_scene(folder, scene, kills, chance, found):
    whole = _whole(folder, scene)
    indices = [folder / f"timed-{number}" for number in range(2)]
    seconds, idle = (min(_seconds(one, scene) for one in indices) for _ in range(2))
    while kills:
        out = folder / str(found["runs"])
        found["runs"] += 1
        left = seconds
        for _ in range(min(kills, MOST)):
            if not _killed(_fork(out, scene), chance.uniform(0, LONGER * left)):
                break
            kills -= 1
            found["kills"] += 1
            state = _check(out, scene, whole)
            found[state] += 1
            missing = _count(scene) - json.loads(state).count("complete")
            left = idle + (seconds - idle) * missing / _count(scene)
        _finish(out, scene, whole)


def _count(scene):
    seed = scene.get("seed", 0)
    return len(scene["prompts"]) * (1 if isinstance(seed, int) else len(seed))


def _whole(folder, scene):
    """Return what an unbroken run leaves; the first one is to warm up."""
    for name in ("warm", "whole"):
        capture_fake(folder / name, **scene)
    assert contents(folder / "warm") == contents(folder / "whole")
    return contents(folder / "whole")


def _seconds(out, scene):
    """Return how long a process takes that nobody kills."""
    began = time.monotonic()
    assert os.waitpid(_fork(out, scene), 0)[1] == 0
    return time.monotonic() - began


def _fork(out, scene, before_change=None, run=capture_fake):
    """Start a process that runs or resumes a scene; return its number."""
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if before_change:
            _die_before(before_change)
        run(out, resume=True, **scene)
        code = 0
    finally:
        if code:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(code)


def _die_before(change):
    """Kill this process before the given one of its changes to the disk."""
    left = iter(range(change - 1))
    for name in ("fsync", "replace", "unlink", "mkdir", "rmdir", "rename"):
        setattr(os, name, _mortal(getattr(os, name), left))


def _mortal(real, left):
    def call(*arguments, **keywords):
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **keywords)

    return call


def _killed(child, seconds):
    """Kill a child after some time; say whether it was still there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, f"a run ended by itself with {status}"
            return False
        time.sleep(TICK)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def _check(out, scene, whole):
    """Check what a kill left; return the statuses as JSON."""
    is_failing = any("bad" in prompt for prompt in scene["prompts"])
    return json.dumps(check_left(out, whole, exact=not is_failing))


def _finish(out, scene, whole):
    """Resume to the end, and compare with the unbroken run."""
    status = os.waitpid(_fork(out, scene), 0)[1]
    assert status == 0, f"the last run ended with {status}"
    assert contents(out) == whole, f"{out} differs from an unbroken run"


def main(folder, kills, seed):
    """Do all of it; return what was counted, by name."""
    results = {"random": at_random(folder / "random", kills, seed)}
    results |= {scene: between_changes(folder / scene, scene) for scene in SMALL}
    return results | {"analysed": analysed(folder / "analysed")}


if __name__ == "__main__":
    torch.set_num_threads(1)
    use_fake()
    try:
        answer = main(Path(sys.argv[1]), kills=int(sys.argv[2]), seed=int(sys.argv[3]))
    except AttnError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    sys.stdout.write(json.dumps(answer))
