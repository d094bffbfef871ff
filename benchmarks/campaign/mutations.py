"""Files that others damaged, edited or made to hurt, read by every command that reads them.

A world of two traces, a collection, results, drawings and lists of prompts is made once. Each case
changes one file of it, runs commands on it in this process, and puts the file back. Every command
must end in an answer or an `AttnError`: soon, in little memory, and without a look at what lies
outside. Forged files carry the right digests, so that what comes after those is met too.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

import attn
from attn.backends.families.scribble.drawing import read_sketch
from attn.errors import AttnError
from attn.files.digests import seal
from attn.files.disk import encode_json
from attn.verbs.analyze.analyze import analyze
from attn.verbs.capture.collection import Entry, note_outcomes, write_index
from attn.verbs.compare.compare import compare
from attn.verbs.gallery import build
from attn.verbs.prompt_files import read_prompts
from attn.verbs.report import Report
from attn.verbs.verify import verify
from benchmarks.campaign.watching import watched
from tests.helpers.editing import special
from tests.helpers.toy_traces import PROMPT, write_whole

CASES = 5_200
"""Changed files of the whole campaign."""
LONGEST = 20
"""Seconds that a command may take."""
MOST_MEMORY = 500 * 2**20
"""Bytes that all of it may take beyond what the same commands take of whole files."""

FORGED = ("edited", "reshaped")
"""Kinds of change that reach furthest: half of the cases where there is one."""

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**62, -(2**63), 10**30, 0.5, -0.5, 1e308, "", "a",
    "..", "../../canary/secret.txt", "/etc/passwd", "a\0b", "\x1b]0;x\x07", "é\u202e", "x" * 5000,
    "image", "clip", "image.text", "cond", [], [0], [[]], {}, {"a": 1}, [None], ["a", "b"],
]  # fmt: skip
"""What a field of a JSON file is made to hold."""


def run(sample: int | None, seed: int) -> dict[str, int]:
    """Change files and read them.

    Args:
        sample: number of changed files; None is `CASES`.
        seed: of all changes.

    Returns:
        Numbers of changed files, by kind too; of commands that refused one; milliseconds of the
        slowest command and megabytes of memory beyond what whole files take.
    """
    chance = random.Random(seed)
    warnings.simplefilter("ignore")  # of numbers that are no probabilities
    with TemporaryDirectory(prefix="attn-mutations-") as name, watched(Path(name)):
        world = _World(Path(name, "world"))
        for target, commands in TARGETS.items():
            for command in commands:
                world.call(target, command)
        before, result = _peak(), Counter[str]()
        for _ in range(CASES if sample is None else sample):
            result.update(_case(world, chance))
    result["slowest ms"] = round(1000 * world.slowest)
    result["extra MB"] = (_peak() - before) // 2**20
    assert _peak() - before <= MOST_MEMORY, f"{result['extra MB']} MB of memory more than normal"
    return dict(result)


def _case(world: _World, chance: random.Random) -> Iterator[str]:
    """Change one file, run the commands that read it, and put it back; yield what to count."""
    target = chance.choice(list(TARGETS))
    path = world.folder / target
    kinds = [name for name, fits in KINDS.items() if fits(target)]
    kind = chance.choice(kinds + [name for name in kinds if name in FORGED] * len(kinds))
    kept = {item: item.read_bytes() for item in (path, *world.beside(path))}
    try:
        CHANGES[kind](path, chance)
        commands = TARGETS[target]
        for command in {commands[0], chance.choice(commands)}:
            if not world.call(target, command, f"{kind} {target}"):
                yield "refused"
    finally:
        _remove(path)
        for item, data in kept.items():
            item.write_bytes(data)
    yield "files"
    yield kind


class _World:
    """The files, the commands that read them, and how long the slowest took."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.slowest = folder, 0.0
        for name, seed in (("0000", 3), ("0001", 4)):
            write_whole(folder / "run" / name, seed)
        entries = [Entry("0000", "complete", PROMPT, 3), Entry("0001", "complete", PROMPT, 4)]
        write_index(folder / "run", entries)
        note_outcomes(folder / "run", entries)
        run = folder / "run"
        analyze(run / "0000", only="words", pictures=False)
        compare(run, run, out=folder / "out", pictures=False, only="words")
        _write_inputs(folder)

    def beside(self, path: Path) -> list[Path]:
        """Return the file whose digest of another file is forged with it."""
        index = path.parents[1] / "trace.json"
        return [index] if index.is_file() else []

    def call(self, target: str, command: str, what: str = "") -> bool:
        """Run a command; return whether it had an answer.

        Raises:
            AssertionError: it raised something that is not expected, or took too long.
        """
        began = time.monotonic()
        signal.signal(signal.SIGALRM, _too_long)
        signal.setitimer(signal.ITIMER_REAL, LONGEST)
        try:
            COMMANDS[command](self.folder, self.folder / target)
        except AttnError:
            return False
        except Exception as error:  # everything else is a bug
            text = "".join(traceback.format_exception(error)[-3:])
            raise AssertionError(f"{command} of {what}: {text}") from error
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.slowest = max(self.slowest, time.monotonic() - began)
            for name in ("new", "page"):
                shutil.rmtree(self.folder / name, ignore_errors=True)
        return True


def _write_inputs(folder: Path) -> None:
    """Write drawings and lists of prompts."""
    drawing = Image.new("L", (31, 23), 255)
    drawing.paste(0, (5, 7, 19, 11))
    for ending in ("png", "gif", "tiff", "bmp", "jpg", "webp"):
        drawing.convert("RGB").save(folder / f"drawing.{ending}")
    (folder / "prompts.txt").write_text("a cat\na dog\n")
    (folder / "prompts.json").write_text('["a cat", {"prompt": "a dog"}]')
    (folder / "prompts.jsonl").write_text('"a cat"\n{"prompt": "a dog"}\n')


def _open(folder: Path, _: Path) -> None:
    trace = attn.open(folder / "run/0000")
    for layer in trace.manifest.kept.layers:
        trace.maps(layer).load()
        trace.mass(layer).load()
        trace.total(layer).load()
    trace.mean_maps(tower=trace.layers[0].tower)
    trace.image()
    trace.sketch()


COMMANDS: dict[str, Callable[[Path, Path], object]] = {
    "open": _open,
    "analyze": lambda folder, _: analyze(
        folder / "run/0000", pictures=False, out=folder / "new/analysis"
    ),
    "analyze with pictures": lambda folder, _: analyze(
        folder / "run/0000", only=["sketch"], out=folder / "new/analysis"
    ),
    "analyze all": lambda folder, _: analyze(
        folder / "run", pictures=False, only="words", out=folder / "new", report=Report()
    ),
    "compare": lambda folder, _: compare(*[folder / "run"] * 2, pictures=False, out=folder / "new"),
    "gallery": lambda folder, _: build(folder),
    "verify": lambda folder, _: verify(folder),
    "prompts": lambda _, path: read_prompts(path),
    "sketch": lambda _, path: read_sketch(path),
}
OF_TRACE = ("open", "analyze", "analyze", "analyze with pictures", "compare", "gallery", "verify")
TARGETS: dict[str, tuple[str, ...]] = {
    "run/0000/trace.json": OF_TRACE,
    "run/0000/attention/step-0000.safetensors": OF_TRACE,
    "run/0000/attention/step-0002.safetensors": OF_TRACE,
    "run/0000/attention/shards.jsonl": ("verify", "open"),
    "run/0000/outputs/image.png": ("open", "analyze with pictures", "gallery", "verify"),
    "run/0000/outputs/sketch.png": ("open", "analyze", "gallery", "compare", "verify"),
    "run/0000/outputs/history.json": ("analyze", "verify"),
    "run/index.json": ("analyze all", "compare", "verify"),
    "run/index.jsonl": ("analyze all", "compare", "verify"),
    "run/0000/analysis/analysis.json": ("gallery", "verify"),
    "run/0000/analysis/.attn.json": ("gallery", "verify"),
    "out/comparison/comparison.json": ("gallery", "verify"),
    "out/comparison/.attn.json": ("gallery", "verify"),
    **{f"drawing.{end}": ("sketch",) for end in ("png", "gif", "tiff", "bmp", "jpg", "webp")},
    **{f"prompts.{end}": ("prompts",) for end in ("txt", "json", "jsonl")},
}
"""What reads each file; the first always does, and one of all by chance."""


def _flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice([1, 1, 1, 2, 9])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def _cut(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: chance.choice([0, 1, len(data) - 1, chance.randrange(len(data))])])


def _splice(path: Path, chance: random.Random) -> None:
    """Repeat, zero, or fill a span with noise."""
    data = path.read_bytes()
    start, stop = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    filler = [data[start:stop] * 2, bytes(stop - start), chance.randbytes(stop - start)]
    path.write_bytes(data[:start] + chance.choice(filler) + data[stop:])


def _nest(path: Path, chance: random.Random) -> None:
    """JSON that is made to exhaust a stack or a memory."""
    deep = chance.choice([100, 1000, 100_000])
    opening, closing = chance.choice([(b"[", b"]"), (b'{"a":', b"}")])
    bombs = [
        opening * deep + b"0" + closing * deep,
        opening * deep,
        b"9" * deep,
        b'"' + b"\\" * deep,
    ]
    path.write_bytes(chance.choice(bombs))


def _other(path: Path, chance: random.Random) -> None:
    """Something else under this name."""
    starts = [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\x80\x04\x95", b"PK\x03\x04"]
    path.write_bytes(chance.choice([*starts, b"<html>", b"\xff\xfe", b"null", b"{}", b"[]", b"0"]))


def _special(path: Path, chance: random.Random) -> None:
    special(path, chance.choice(["pipe", "device", "folder", "circle"]))


def _bomb(path: Path, chance: random.Random) -> None:
    """A picture that is larger than its file, or has many frames."""
    small = Image.new("1", chance.choice([(9000, 9000), (16_001, 1000)]))
    data = BytesIO()
    if chance.random() < 0.5:
        small.save(data, chance.choice(["PNG", "GIF"]))
    else:
        frames = [Image.new("L", (3, 5), shade) for shade in range(200)]
        frames[0].save(data, chance.choice(["TIFF", "GIF"]), save_all=True, append_images=frames)
    path.write_bytes(data.getvalue())
    _forge_digest(path)


def _edit(path: Path, chance: random.Random) -> None:
    """Give one field somewhere a value that it cannot have, and forge the digest."""
    value = json.loads(path.read_bytes())
    indices = list(_places(value))
    holder, key = chance.choice(indices)
    how = chance.choice(["replace", "replace", "replace", "remove", "repeat"])
    if how == "remove":
        del holder[key]
    elif how == "repeat" and isinstance(holder, list):
        holder.insert(key, holder[key])
    else:
        holder[key] = chance.choice(VALUES)
    if isinstance(value, dict) and value:
        value.pop("sha256", None)
        data = encode_json(value)
        path.write_bytes(seal(data) if chance.random() < 0.5 else data)
    else:
        path.write_text(json.dumps(value))
    _forge_digest(path)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (holder, key) of everything in a JSON value."""
    keys: Any = ()
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = range(len(value))
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _reshape(path: Path, chance: random.Random) -> None:
    """Give a tensor another shape, dtype or name, or other numbers, and forge the digest."""
    tensors = load_file(path)
    name = chance.choice(list(tensors))
    tensor = tensors.pop(name)
    ways: list[Callable[[], dict[str, np.ndarray]]] = [
        dict,
        lambda: {name: tensor[..., :-1]},
        lambda: {name: tensor[np.newaxis]},
        lambda: {name: tensor[0]},
        lambda: {name: tensor.astype(chance.choice([np.int64, np.float64, np.bool_, np.uint8]))},
        lambda: {name: np.repeat(tensor, 2, chance.randrange(tensor.ndim))},
        lambda: {name: np.full_like(tensor, chance.choice([np.nan, np.inf, -1, 0, 6e4]))},
        lambda: {name.replace(".", "/"): tensor},
        lambda: {name.replace("image", "text"): tensor},
        lambda: {f"9{name}": tensor},
    ]
    changed = {key: np.ascontiguousarray(value) for key, value in chance.choice(ways)().items()}
    save_file(tensors | changed, path)
    _forge_digest(path)


def _forge_digest(path: Path) -> None:
    """Let the trace of a file vouch for what it is now."""
    index = path.parents[1] / "trace.json"
    if path.parent.name not in ("attention", "outputs") or not index.is_file():
        return
    manifest, data = json.loads(index.read_bytes()), path.read_bytes()
    name = f"{path.parent.name}/{path.name}"
    manifest["identity"]["outputs"][name] = sha256(data).hexdigest()
    for shard in manifest["shards"]:
        if shard["file"] == name:
            shard |= {"sha256": sha256(data).hexdigest(), "bytes": len(data)}
    manifest.pop("sha256", None)
    index.write_bytes(seal(encode_json(manifest)))


def _is_picture(target: str) -> bool:
    return Path(target).stem in ("image", "sketch", "drawing")


def _is_any(_: str) -> bool:
    return True


CHANGES: dict[str, Callable[[Path, random.Random], None]] = {
    "flipped": _flip,
    "cut": _cut,
    "spliced": _splice,
    "nested": _nest,
    "other": _other,
    "special": _special,
    "bomb": _bomb,
    "edited": _edit,
    "reshaped": _reshape,
}
KINDS: dict[str, Callable[[str], bool]] = {
    **dict.fromkeys(("flipped", "cut", "spliced", "other", "special"), _is_any),
    "nested": lambda target: ".json" in target,
    "bomb": _is_picture,
    "edited": lambda target: target.endswith(".json"),
    "reshaped": lambda target: target.endswith(".safetensors"),
}
"""Which files each kind of change is for."""


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {LONGEST} s")


def _peak() -> int:
    """Return the most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
