"""Fill chat templates of others, in a process whose time and memory are bounded."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from signal import SIGALRM, SIGXCPU
from threading import Lock
from typing import Any, Literal

from attn.backends.loading.templates.process import SECONDS

SCRIPT = Path(__file__).with_name("process.py")
_LOCK = Lock()
_RUNNING: list[subprocess.Popen[str]] = []


def fill(template: str, messages: Sequence[Mapping[str, Any]], words: Mapping[str, Any]) -> str:
    """Return what a model reads of a chat, as transformers' `apply_chat_template` gives it.

    Args:
        template: a Jinja template.
        messages: `role` and `content` of each.
        words: what else the template may use, such as `bos_token`; as JSON has it.

    Raises:
        ValueError: the template fails, or takes too long or too much; says why.
    """
    asked = json.dumps({"template": template, "messages": [*messages], "words": {**words}})
    with _LOCK:
        process = _started()
        try:
            print(asked, file=process.stdin, flush=True)
            line = process.stdout.readline() if process.stdout else ""
        except OSError:  # it has ended
            line = ""
        if not line:
            code = _stop()
            is_late = code in (-SIGXCPU, -SIGALRM)
            raise ValueError(
                f"it runs for more than {SECONDS} seconds"
                if is_late
                else f"what fills it ended with exit code {code}"
            )
    answer = json.loads(line)
    if "error" in answer:
        raise ValueError(answer["error"])
    return str(answer["text"])


def bind(tokenizer: Any) -> None:
    """Have a tokenizer fill its template so, whoever asks it to: a pipeline does itself."""
    if getattr(tokenizer, "chat_template", None) and hasattr(tokenizer, "get_chat_template"):
        tokenizer.apply_chat_template = partial(_apply, tokenizer)


def _apply(
    tokenizer: Any,
    conversation: Sequence[Mapping[str, Any]],
    *,
    tokenize: Literal[False],
    add_generation_prompt: Literal[True],
    **words: Any,
) -> str:
    """Do what `apply_chat_template` of a tokenizer does, as far as pipelines need it."""
    del tokenize, add_generation_prompt  # `fill` knows no other
    return fill(tokenizer.get_chat_template(), conversation, tokenizer.special_tokens_map | words)


def _started() -> subprocess.Popen[str]:
    """Return the process, which stays for the next template, or another if it has ended."""
    if _RUNNING and _RUNNING[0].poll() is not None:
        _stop()
    if not _RUNNING:
        process = subprocess.Popen(
            [sys.executable, "-I", str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        _RUNNING.append(process)
    return _RUNNING[0]


@atexit.register
def _stop() -> int | None:
    """End the process; return its exit code."""
    if not _RUNNING:
        return None
    process = _RUNNING.pop()
    process.kill()
    with suppress(BrokenPipeError), process:  # of what was not read
        pass
    return process.returncode


if hasattr(os, "register_at_fork"):  # a fork that wrote into the same pipe would get others' texts
    os.register_at_fork(after_in_child=_RUNNING.clear)
