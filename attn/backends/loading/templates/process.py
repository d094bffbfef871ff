"""A process of its own that fills chat templates of others, in bounded time and memory.

A template is a program: one operation of it can fill the memory, and no loop has to end. This file
is run, not imported; it reads a request as a line of JSON and answers with another, until the end.
"""

import json
import pathlib
import resource
import signal
import sys

SECONDS, BYTES = 5, 2**29
"""What one template may take: of the processor, and of memory beyond what the libraries have."""
ELAPSED = 15
"""Seconds by the clock that it may take, however busy the machine is."""
LONGEST = 2**22
"""Characters of a text that a template makes."""


def main() -> None:
    """Answer requests: `template`, `messages` and `words`, what else the template may use."""
    from transformers.utils.chat_template_utils import render_jinja_template

    with pathlib.Path("/proc/self/statm").open() as stream:
        size = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + BYTES, size + BYTES))
    for line in sys.stdin:
        asked = json.loads(line)
        used = resource.getrusage(resource.RUSAGE_SELF)
        end = int(used.ru_utime + used.ru_stime) + SECONDS + 1
        resource.setrlimit(resource.RLIMIT_CPU, (end, resource.RLIM_INFINITY))
        signal.setitimer(signal.ITIMER_REAL, ELAPSED)  # which ends the process, as the limit does
        try:
            text = render_jinja_template(
                [asked["messages"]],
                chat_template=asked["template"],
                add_generation_prompt=True,
                **asked["words"],
            )[0][0]
            answer = {"text": text}
            if len(text) > LONGEST:
                answer = {"error": f"it makes a text of more than {LONGEST} characters"}
        except MemoryError:
            answer = {"error": f"it takes more than {BYTES / 1e6:.0f} MB of memory"}
        except Exception as error:  # noqa: BLE001 - templates raise whatever they like
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
