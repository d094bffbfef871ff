"""What a local worker runs: the recipe comes first, then batches; each line is JSON.

Answers go to what was stdout; what libraries print goes to stderr. The worker ends when its driver
does, since nothing comes any more.
"""

from __future__ import annotations

import os
import signal
import sys

import msgspec

from attn.errors import AttnError
from attn.verbs.workers.work import BatchAnswer, BatchMembers, RunRecipe


def main() -> None:
    """Work until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the driver ends this process
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def send(answer: BatchAnswer) -> None:
        answers.write(msgspec.json.encode(answer) + b"\n")
        answers.flush()

    from attn.verbs.workers.maker import Maker

    try:
        maker = Maker(msgspec.json.decode(sys.stdin.buffer.readline(), type=RunRecipe))
    except AttnError as error:
        send(BatchAnswer(ended=str(error)))
        return
    send(BatchAnswer())
    for line in sys.stdin.buffer:
        send(maker.make(msgspec.json.decode(line, type=BatchMembers)))


if __name__ == "__main__":
    main()
