"""Open and run damaged copies of model folders: every one draws, or ends in one expected error.

Each case runs in a forked child, whose time and memory are measured.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from attn import demo
from attn.backends import find, load
from attn.backends.loading.quiet import quiet
from attn.backends.types import Placement
from attn.demo import language
from attn.errors import AttnError
from attn.schema import Request

MODELS = {"sd15": "tiny:sd15", "sdxl": "tiny:sdxl", "sd35": "tiny:sd35", "mmada": "tiny:mmada"}
"""Demo models by the backend that opens them."""
BUILT = (
    "sd2",
    "flux",
    "flux2",
    "chroma",
    "z-image",
    "qwen-image",
    "pixart",
    "sana",
)
"""Backends whose demo is a pipeline in memory; only all cases have them, a sample has not."""
WRITERS = {"mmada": {"gen_length": 4, "block_length": 4}, "hf": {"generate": 2}}
"""Options of backends that write text, by which it is short."""
REQUESTS = {"mmada": {"steps": 2}, "hf": {}}
"""What is asked of these, beside the prompt."""
COUNT = 240
SECONDS = 20
MEMORY = 500 * 2**10
"""KiB above what the whole model takes."""
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 7, 1.5, 10**5, 10**6, 10**9, 10**30, "", "x", "../x", "none",
    [], [0], [1, "a"], {}, {"a": 1}, [None] * 5, "\x1b[31m", "https://example.org/x", [10**6] * 4,
)  # fmt: skip
"""What a field may be set to."""


def mutate(folder: Path, chance: random.Random) -> str:
    """Damage one file of a model's folder.

    Args:
        folder: of a copy; files are replaced, never written into, so that they may be links.
        chance: the same state makes the same damage.

    Returns:
        What was done, in words.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    configurations = [path for path in paths if path.suffix == ".json"]
    kind = chance.choice(list(KINDS))
    path = chance.choice(configurations if kind in EDITS or chance.random() < 0.7 else paths)
    done = KINDS[kind](path, chance)
    return f"{kind} {path.relative_to(folder)}{done and f': {done}'}"


def _replace(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def _cut(path: Path, chance: random.Random) -> str:
    data = path.read_bytes()
    _replace(path, data[: chance.randrange(len(data))])
    return ""


def _flip(path: Path, chance: random.Random) -> str:
    data = bytearray(path.read_bytes())
    for _ in range(chance.randrange(1, 4)):
        data[chance.randrange(min(len(data), 4096))] ^= 1 << chance.randrange(8)
    _replace(path, bytes(data))
    return ""


def _letter(path: Path, chance: random.Random) -> str:
    data = bytearray(path.read_bytes())
    data[chance.randrange(min(len(data), 4096))] = chance.choice(b'0123456789-."[]{},:axtn \\')
    _replace(path, bytes(data))
    return ""


def _edit(path: Path, chance: random.Random) -> str:
    """Set one field, at any depth, to another value."""
    result = json.loads(path.read_bytes())
    holder, key = chance.choice([*_fields(result)])
    holder[key] = chance.choice(VALUES)
    _replace(path, json.dumps(result).encode())
    return f"{key} = {json.dumps(holder[key])[:40]}"


def _drop(path: Path, chance: random.Random) -> str:
    result = json.loads(path.read_bytes())
    holder, key = chance.choice([*_fields(result)])
    del holder[key]
    _replace(path, json.dumps(result).encode())
    return str(key)


def _fields(value: Any, depth: int = 4) -> list[tuple[Any, Any]]:
    """Return (object or list, key) of every field; of long ones the first few dozen."""
    keys = [*value] if isinstance(value, dict) else [*range(len(value))]
    result = [(value, key) for key in keys[:48]]
    inner = [value[key] for key in keys[:48] if isinstance(value[key], dict | list) and value[key]]
    return result + [field for item in inner if depth for field in _fields(item, depth - 1)]


def _nest(path: Path, chance: random.Random) -> str:
    deep = chance.choice([500, 1000, 10_000])
    _replace(path, chance.choice([b"[" * deep, b'{"a":' * deep, b"[" * deep + b"]" * deep]))
    return ""


def _foreign(path: Path, chance: random.Random) -> str:
    starts = [b"", b"null", b"7", b'"x"', b"[]", b"{}", b"\x80\x02}q\x00X", b"<html>", b"\xff\xfe{"]
    _replace(path, chance.choice(starts))
    return ""


def _odd(path: Path, chance: random.Random) -> str:
    """Put something in its place that is no regular file."""
    path.unlink()
    kind = chance.choice(["pipe", "zero", "loop", "folder", "nothing", "nowhere"])
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind != "nothing":
        path.symlink_to({"zero": "/dev/zero", "loop": path.name, "nowhere": "/nowhere"}[kind])
    return kind


KINDS: dict[str, Callable[[Path, random.Random], str]] = {
    "cut": _cut,
    "flip": _flip,
    "letter": _letter,
    "edit": _edit,
    "edit too": _edit,
    "edit again": _edit,
    "drop": _drop,
    "nest": _nest,
    "foreign": _foreign,
    "odd": _odd,
}
EDITS = {"edit", "edit too", "edit again", "drop"}
"""Kinds of damage that only JSON can take; edits are the most frequent."""


def save_models(folder: Path) -> dict[str, Path]:
    """Build a whole model of each further backend; return their folders."""
    with quiet():
        for name in BUILT:
            pipe = load(find(name)).build_demo(torch.float32, weights=True)  # type: ignore[attr-defined]
            pipe.save_pretrained(folder / name)
    _save_language_model(folder / "hf")
    return {name: folder / name for name in (*BUILT, "hf")}


def _save_language_model(folder: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = language.tokenizer()
    sizes = {"hidden_size": 60, "intermediate_size": 20, "num_attention_heads": 6}
    config = LlamaConfig(
        vocab_size=len(tokenizer), num_hidden_layers=2, num_key_value_heads=3, **sizes
    )
    with quiet():
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def use(backend: str, folder: Path) -> None:
    """Open a model, look at its tokens and layers, and let it generate."""
    family = load(find(backend))
    options = family.Options(**WRITERS.get(backend, {}))
    session = family.open(folder, options, Placement("cpu"))
    asked = REQUESTS.get(backend, {"steps": 2, "width": 64, "height": 96})
    request = session.complete(Request("a red cat", **asked))
    for branch in session.branches(request):
        session.sequence(request, branch)
    session.layers(request)
    session.generate([request], None)
    session.info.identity()


def run(sample: int | None, seed: int) -> dict[str, Any]:
    """Use damaged models.

    Args:
        sample: how many; None is `COUNT`, each told on stderr.
        seed: of the damages.

    Returns:
        How many were opened and refused, the longest seconds and the most KiB above the whole's.
    """
    torch.set_num_threads(1)
    models = {name: demo.checkpoint(model) for name, model in MODELS.items()}
    with TemporaryDirectory(prefix="attn-models-") as scratch:
        built = save_models(Path(scratch)) if sample is None else {}
        return _use_damaged(models | built, sample, seed)


def _use_damaged(models: dict[str, Path], sample: int | None, seed: int) -> dict[str, Any]:
    for name, folder in models.items():
        use(name, folder)  # imports everything, once for all children
    usual = {name: _usual(name, folder) for name, folder in models.items()}
    figures: Counter[str] = Counter()
    failures = []
    longest, largest = 0.0, 0
    for number in range(COUNT if sample is None else sample):
        with TemporaryDirectory(prefix="attn-models-") as scratch:
            chance, folder = random.Random(f"{seed} {number}"), Path(scratch, "model")
            backend = chance.choice(list(models))
            shutil.copytree(models[backend], folder)
            damage = mutate(folder, chance)
            outcome, seconds, memory = _forked(backend, folder)
        above = memory - usual[backend]
        longest, largest = max(longest, seconds), max(largest, above)
        told = f"{number} {backend}, {damage}: {seconds:.1f} s, {above} KiB, {outcome}"
        figures[outcome.partition(" ")[0]] += 1
        if outcome.startswith("bug") or seconds > SECONDS or above > MEMORY:
            failures.append(told)
        if sample is None:
            sys.stderr.write(told + "\n")
    assert not failures, "\n".join(failures)
    return {**figures, "seconds": round(longest, 1), "KiB": largest}


def _usual(backend: str, folder: Path) -> int:
    outcome, _, memory = _forked(backend, folder)
    assert outcome == "opened", outcome
    return memory


def _forked(backend: str, folder: Path) -> tuple[str, float, int]:
    """Use a model in a child; return what came of it, its seconds, and its most memory in KiB."""
    reading, writing = os.pipe()
    start = time.monotonic()
    child = os.fork()
    if not child:
        os.close(reading)
        signal.alarm(2 * SECONDS)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.write(writing, _outcome(backend, folder).encode()[:60_000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        said = stream.read().decode()
    _, status, usage = os.wait4(child, 0)
    return said or f"bug ended by {status}", time.monotonic() - start, usage.ru_maxrss


def _outcome(backend: str, folder: Path) -> str:
    try:
        use(backend, folder)
    except AttnError as error:
        return f"refused {' '.join(str(error).split())}"
    except BaseException:  # noqa: BLE001 - whatever is not expected is what is looked for
        return f"bug {traceback.format_exc()}"
    return "opened"
