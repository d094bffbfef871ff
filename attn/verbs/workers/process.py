"""What a local worker runs: the recipe comes first, then batches; each line is JSON.

Answers go to what was stdout; what libraries print goes to stderr. The worker ends with its driver,
at once, so that nobody writes where the next driver may.
"""

from __future__ import annotations

import os
import signal
import sys
from queue import SimpleQueue
from threading import Thread
from typing import BinaryIO

from attn.library_warnings import hush_libraries
from attn.verbs.workers.work import BatchAnswer, BatchMembers, WorkerRecipe, decode, encode


def open_answers() -> BinaryIO:
    """Return what was stdout, for answers alone: what libraries print goes to stderr from now on.

    Ctrl-C in the terminal is nothing to this process any more; whoever started it ends it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hush_libraries()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def main() -> None:
    """Work until stdin ends."""
    answers = open_answers()
    lines = SimpleQueue[bytes]()
    Thread(target=_read, args=[lines], daemon=True).start()

    def send(answer: BatchAnswer) -> None:
        answers.write(encode(answer) + b"\n")
        answers.flush()

    from attn.verbs.workers.maker import open_maker

    maker = open_maker(decode(lines.get(), WorkerRecipe))
    if isinstance(maker, BatchAnswer):
        send(maker)
        return
    send(BatchAnswer())
    while True:
        send(maker.make(decode(lines.get(), BatchMembers)))


def _read(lines: SimpleQueue[bytes]) -> None:
    """Take lines from the driver; where they end it is gone, or needs this process no more."""
    for line in sys.stdin.buffer:
        lines.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
