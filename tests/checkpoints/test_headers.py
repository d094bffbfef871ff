"""Headers of safetensors files: the same reading as the library's, or one clear refusal."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from attn.checkpoints.headers import BITS, LARGEST, TensorInfo, read_header
from attn.checkpoints.probe import Checkpoint, Members, members, probe
from attn.errors import ModelError
from tests.helpers.mutations import mutations, pack

ONE = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
DATA = bytes(range(24))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that a test writes."""
    return tmp_path / "model.safetensors"


def refusal(path: Path, content: bytes) -> str:
    """Return what a file of this content is refused with, after its path."""
    path.write_bytes(content)
    with pytest.raises(ModelError) as error:
        read_header(path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ").removesuffix("; download or copy it again")


def test_reading(path: Path) -> None:
    """Names, dtypes, shapes and metadata are the library's, in the order of the bytes."""
    tensors = {"b.weight": np.ones((2, 3), np.float32), "a": np.ones((), np.int64)}
    save_file(tensors | {"none": np.ones((0, 5), np.float16)}, path, {"format": "pt", "ä": "ö"})
    header = read_header(str(path))
    assert {name: (info.dtype, info.shape) for name, info in header.tensors.items()} == {
        "b.weight": ("F32", (2, 3)),
        "a": ("I64", ()),
        "none": ("F16", (0, 5)),
    }
    assert (header.path, header.metadata) == (path, {"format": "pt", "ä": "ö"})
    starts = [info.start for info in header.tensors.values()]
    assert starts == sorted(starts)


def test_places_are_those_of_the_bytes(path: Path) -> None:
    """A tensor's bytes stand in the file from `start` to `stop`; there are `elements` of them."""
    values = np.arange(15, dtype=np.float64).reshape(3, 5)
    save_file({"first": np.ones(7, np.uint8), "values": values}, path)
    info = read_header(path).tensors["values"]
    assert path.read_bytes()[info.start : info.stop] == values.tobytes()
    assert info.elements == 15


def test_without_tensors(path: Path) -> None:
    """A file that is valid and empty is valid and empty."""
    path.write_bytes(pack(b"{}   "))
    header = read_header(path)
    assert (header.tensors, header.metadata) == ({}, {})


@pytest.mark.parametrize("dtype", BITS)
def test_dtypes(path: Path, dtype: str) -> None:
    """Every dtype of the format is known with its size, those of 8 bits and fewer included."""
    data = bytes(BITS[dtype])
    header = {"a": {"dtype": dtype, "shape": [8], "data_offsets": [0, len(data)]}}
    path.write_bytes(pack(header, data))
    (info,) = read_header(path).tensors.values()
    assert info == TensorInfo(dtype, (8,), info.start, info.start + len(data))
    with safe_open(path, "np") as file:
        assert file.get_slice("a").get_dtype() == dtype


def test_seven_gigabytes_cost_nothing(path: Path) -> None:
    """Only the header is read: a file of 7 GB takes no longer than a small one."""
    size = 7 * 10**9
    path.write_bytes(pack({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}))
    end = path.stat().st_size + size
    os.truncate(path, end)
    assert read_header(path).tensors["a"].stop == end


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (bytes(7), "the file begins with zeros: it was never written to its end"),
        (bytes(9000), "the file begins with zeros: it was never written to its end"),
        (b"\xfe\xff\x00\x01", "the file is cut short: only 4 bytes are there"),
        (b"Not Found", "this is a text file, such as a failed download leaves"),
        (b'{"error": "gated"}', "this is a text file, such as a failed download leaves"),
        (b"\x1f\x8b\x08\x00data", "this is a packed archive; unpack it first"),
        (b"GGUF\x03\x00", "this is a GGUF file; use the model's .safetensors file"),
        (b"\x89PNG\r\n\x1a\n", "this is a picture; use the model's .safetensors file"),
        (
            b" \n<!doctype HTML><title>Log in</title>",
            "this is an HTML page saved under this name, mostly a login or error page; "
            "open the link in a browser and download the file itself",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 6938041050\n",
            "this is a git-lfs pointer, not the file; run `git lfs pull` in the folder that was "
            "cloned, or download the file itself",
        ),
        (
            b"PK\x03\x04\x00\x00\x08\x08archive/data.pkl",
            "this is a zip archive, probably a pickled checkpoint with another ending, which "
            "could run any code when opened; convert it to .safetensors with a tool that you trust",
        ),
        (
            b"\x80\x02}q\x00X\x05\x00\x00\x00",
            "this is a pickled checkpoint with another ending, which could run any code when "
            "opened; convert it to .safetensors with a tool that you trust",
        ),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else "",
)
def test_other_files(path: Path, content: bytes, message: str) -> None:
    """What people take for a checkpoint is called by its name, with what to do about it."""
    assert refusal(path, content) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            pack(ONE, DATA[:10]),
            "the file is cut short: 83 bytes of 97 bytes are there",
        ),
        (
            pack(b"{", length=3000),
            "the file is cut short within its header: 9 bytes of at least 3.0 kB are there",
        ),
        (
            pack(ONE, DATA, length=2**63),
            "this is no safetensors file, or a damaged one: it announces a header of "
            f"9223372036854775808 bytes, expected 1 to {LARGEST}",
        ),
        (
            pack(b"[1, 2]"),
            "this is no safetensors file, or a damaged one: its header does not begin with '{'",
        ),
    ],
    ids=["data", "header", "absurd length", "no object"],
)
def test_cut_or_strange(path: Path, content: bytes, message: str) -> None:
    """A download that was cut says how much of it is there."""
    assert refusal(path, content) == message


NO_SHAPE = "tensor 'a': its shape must be a list of sizes"
NO_ENTRY = "tensor 'a': expected dtype, shape and data_offsets"


def entry(**changed: object) -> bytes:
    """Return a file of one tensor, some fields of which are changed."""
    return pack({"a": ONE["a"] | changed}, DATA)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (entry(dtype="F8"), "tensor 'a': its dtype is 'F8'; expected one of BOOL, U8, I8, "),
        (entry(dtype=["F32"]), "tensor 'a': its dtype is not a text; expected one of BOOL, "),
        (entry(shape=[2, 4]), "tensor 'a': F32 of shape [2, 4] takes 32 bytes; its data_offsets"),
        (entry(shape=[2, -3]), NO_SHAPE),
        (entry(shape=[2.0, 3]), NO_SHAPE),
        (entry(shape=[None, 3]), NO_SHAPE),
        (pack(b'{"a": 1e5}'), NO_ENTRY),
        (entry(shape=[True, 6]), "tensor 'a': its shape must be a list of sizes"),
        (entry(shape=[10**17, 10**17, 0]), "tensor 'a': its shape [100000000000000000, 1000000000"),
        (entry(shape=6), "tensor 'a': its shape must be a list of sizes"),
        (entry(data_offsets=[0]), "tensor 'a': its data_offsets must be [start, stop]"),
        (entry(data_offsets=[24, 0]), "tensor 'a': F32 of shape [2, 3] takes 24 bytes; its data"),
        (entry(data_offsets=[0, 10**30]), "tensor 'a': its data_offsets must be [start, stop]"),
        (entry(data_offsets=[4, 28]), "tensor 'a' leaves a gap before it: it starts at byte 77, "),
        (entry(more=1), "tensor 'a': expected dtype, shape and data_offsets"),
        (pack({"a": [1]}), "tensor 'a': expected dtype, shape and data_offsets"),
        (pack(ONE | {"b": ONE["a"]}, DATA), "tensor 'b' overlaps the one before it: it starts at "),
        (pack(ONE, DATA + b"!"), "the file has 98 bytes, its tensors end at 97"),
        (pack(b'{"a": 1, "a": 2}'), "the name 'a' appears twice"),
        (pack({"__metadata__": ["a"]}), "__metadata__ must map names to texts"),
        (pack({"__metadata__": {"a": 1}}), "__metadata__ must map names to texts, and 'a' is none"),
        (pack({"__metadata__": {"a": 1e-4}}), "__metadata__ must map names to texts, and 'a' is "),
        (pack({"__metadata__": {"a": None}}), "__metadata__ must map names to texts, and 'a' is "),
        (pack({"\ud800": ONE["a"]}, DATA), "it is no UTF-8 text"),
        (pack(b'{"\xff": 1}'), "it is no UTF-8 text"),
        (pack(b'{"a": NaN}'), NO_ENTRY),
        (pack({"__metadata__": {"a": "\ud800"}}), "it is no UTF-8 text"),
        (pack(b'{"a": '), "Expecting value: line 1 column 7 (char 6)"),
        (pack(b'{"a":' + b"[" * 9000), "it is nested too deeply"),
        (pack(b"{}[]"), "Extra data: line 1 column 3 (char 2)"),
    ],
)
def test_damaged_headers(path: Path, content: bytes, message: str) -> None:
    """A header that contradicts the format, the file or itself is refused with the place."""
    assert refusal(path, content).startswith(f"its header is damaged: {message}")


@pytest.mark.parametrize("metadata", [None, {}, {"a": "1e-4"}])
def test_metadata(path: Path, metadata: dict[str, str] | None) -> None:
    """What the library reads is read: metadata may be null, and its texts may look like numbers."""
    path.write_bytes(pack(ONE | {"__metadata__": metadata}, DATA))
    assert read_header(path).metadata == as_the_library_reads(path)[1] == (metadata or {})


def test_names_in_messages(path: Path) -> None:
    """A name from a file cannot flood the terminal, nor steer it."""
    message = refusal(path, pack({"\x1b[31m" + "x" * 5000: {}}))
    assert message.isprintable()
    assert len(message) < 200


def test_nothing_there(tmp_path: Path) -> None:
    """A path that is no file is refused, and a pipe is not waited for."""
    os.mkfifo(tmp_path / "pipe")
    for name, message in {
        "none": f"cannot read {tmp_path / 'none'}: the file or its folder does not exist. "
        f"Check the path: {tmp_path} holds pipe",
        "": f"{tmp_path}: this is a folder; expected a .safetensors file",
        "pipe": f"{tmp_path / 'pipe'}: this is no regular file; expected a .safetensors file",
    }.items():
        with pytest.raises(ModelError) as error:
            read_header(tmp_path / name)
        assert str(error.value) == message


def as_the_library_reads(path: Path) -> tuple[dict[str, tuple[str, list[int]]], dict[str, str]]:
    with safe_open(path, "np") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        shapes = {name: (item.get_dtype(), item.get_shape()) for name, item in slices.items()}
        return shapes, file.metadata() or {}


def every_name(sorted_in: Members, found: Checkpoint) -> set[str]:
    parts = sorted_in.parts.items()
    own = {found.parts[part] + name for part, tensors in parts for name in tensors}
    return own | {*sorted_in.unused, *sorted_in.unknown}


def test_mutated_files(path: Path) -> None:
    """2,000 broken files end in a refusal, or in the very reading that the library gives."""
    counts = {"read": 0, "refused": 0}
    for kind, content in mutations(2000):
        path.write_bytes(content)
        try:
            header = read_header(path)
        except ModelError as error:
            message = str(error).removeprefix(f"{path}: ")
            assert 15 < len(message) < 500 and message.isprintable(), (kind, message)
            counts["refused"] += 1
            continue
        shapes = {name: (info.dtype, [*info.shape]) for name, info in header.tensors.items()}
        assert (shapes, header.metadata) == as_the_library_reads(path), kind
        result = probe(header)
        assert result.title and (result.family or result.advice), kind
        assert every_name(members(header, result), result) == header.tensors.keys(), kind
        counts["read"] += 1
    assert min(counts.values()) > 200


def test_every_cut_is_noticed(path: Path) -> None:
    """However short a file is cut, it is refused."""
    whole = pack(ONE, DATA)
    for length in range(len(whole)):
        refusal(path, whole[:length])


PEAK = """
import sys
from pathlib import Path
from attn.checkpoints.probe import probe
from attn.errors import ModelError
from attn.checkpoints.headers import read_header
try:
    probe(read_header(sys.argv[1]))
except ModelError as error:
    print(len(str(error)) < 500, end=" ")
(peak,) = [line for line in Path("/proc/self/status").open() if line.startswith("VmHWM")]
print(int(peak.split()[1]) // 1024)
"""  # getrusage would tell the peak of the process that started this one
ROOM = LARGEST - 200
WIDE = "\U0001f600"  # one such character makes Python store a text in four bytes per character
BOMBS = {
    "one long text": f'{{"__metadata__":{{"a":"{WIDE}'.encode() + b"x" * (ROOM - 60) + b'"}}',
    "many wide texts": f'{{"{WIDE}":['.encode()
    + ",".join([f'"{WIDE}{"x" * 38}"'] * (2**18 - 10)).encode()
    + b"]}",
    "many tensors": b'{"__metadata__":{}'
    + b"".join(
        b',"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(2**15 - 1)
    )
    + b"}",
    "many numbers": b'{"a":{"dtype":"U8","data_offsets":[0,0],"shape":['
    + b",".join([b"999999999999999"] * (2**19 - 10))
    + b"]}}",
    "many lists": b'{"a":[' + b"[]," * (ROOM // 3 - 10) + b"[]]}",
    "many quotes": b"{" + b'"\n' * (ROOM // 2),
    "escaped quotes": b'{"' + b'\\"' * (ROOM // 2 - 10),
    "deep": b'{"a":' + b"[" * (ROOM - 10),
    "one number": b'{"a":' + b"9" * (ROOM - 10) + b"}",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BOMBS)
def test_memory_is_bounded(path: Path, kind: str) -> None:
    """Headers made to grow in memory stay below 200 MB, interpreter and all."""
    path.write_bytes(pack(BOMBS[kind]))
    command = [sys.executable, "-c", textwrap.dedent(PEAK), str(path)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(output[-1]) < 200
    assert output[:-1] in ([], ["True"])
