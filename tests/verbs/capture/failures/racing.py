"""Two processes that begin one capture at one moment: the script of `failures/test_races.py`.

Everything is imported once, here; children that are forked stand at a barrier, a pipe that ends.
Prints as JSON why each process was refused, round by round; nothing where it came to its end.
"""

import json
import os
import sys
from pathlib import Path

import torch

from attn.errors import AttnError
from attn.files import locks
from attn.verbs.report import Report
from tests.helpers.toy_runs import capture_fake, check_left, contents, use_fake

PROMPTS = ["a red cat", "a dog", "a tree"]
DRIVERS, ROUNDS = 2, 10


def run(out):
    """Capture a collection, or go on with it."""
    capture_fake(out, PROMPTS, resume=True, report=Report())


def race(out, whole):
    """Let drivers begin at one moment, check what they left, and return why each was refused."""
    barrier, start = os.pipe()
    drivers = [_fork(out, number, barrier, start) for number in range(DRIVERS)]
    os.close(barrier)
    os.close(start)
    for driver in drivers:
        assert os.waitpid(driver, 0)[1] == 0, f"{out}: a driver ended unexpectedly"
    check_left(out, whole)  # what the index says is complete is
    run(out)
    assert contents(out) == whole, f"{out}: differs from what one driver makes"
    return [_refusal(out, number).read_text() for number in range(DRIVERS)]


def _refusal(out, number):
    return out.with_name(f"{out.name}-{number}.txt")


def _fork(out, number, barrier, start):
    if child := os.fork():
        return child
    code, refusal = 1, ""
    try:
        os.close(start)
        os.read(barrier, 1)  # until the parent has closed the other end
        try:
            run(out)
        except AttnError as error:
            refusal = str(error)
        _refusal(out, number).write_text(refusal)
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    torch.set_num_threads(1)
    use_fake()
    folder = Path(sys.argv[1])
    if sys.argv[2] == "without locks":
        locks._lock = lambda handle, wait: None
    run(folder / "whole")
    expected = contents(folder / "whole")
    rounds = [race(folder / f"round-{number}", expected) for number in range(ROUNDS)]
    sys.stdout.write(json.dumps(rounds))
