"""Checkpoint files as they arrive: cut, flipped, filled with something else, or made to hurt."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "U8": 1, "BOOL": 1}


def pack(header: bytes | Mapping[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    """Return a safetensors file; `length` is what it claims of its header, if not the truth."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def checkpoint(shapes: Mapping[str, tuple[int, ...]], dtype: str = "F16") -> bytes:
    """Return a file of zeros with tensors of these shapes, one after the other."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt", "modelspec.prediction_type": "v"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + _product(shape) * SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    return pack(header, bytes(end))


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for number in shape:
        product *= number
    return product


SMALL = {
    "model.diffusion_model.input_blocks.0.0.weight": (8, 4, 3, 3),
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (8, 5),
    "model.diffusion_model.input_blocks.1.1.proj_in.weight": (8, 8),
    "model.diffusion_model.label_emb.0.0.weight": (7, 3),
    "model.diffusion_model.out.2.weight": (4, 8, 3, 3),
    "first_stage_model.decoder.conv_in.weight": (3, 4, 3, 3),
    "v_pred": (0,),
    "scale": (),
}
"""The outline of an SDXL checkpoint."""

JOINT = {
    "joint_blocks.0.x_block.attn.qkv.weight": (12, 4),
    "joint_blocks.0.x_block.attn.ln_k.weight": (2,),
    "x_embedder.proj.weight": (4, 16, 2, 2),
    "pos_embed": (1, 9, 4),
    "text_encoders.clip_l.transformer.text_model.embeddings.token_embedding.weight": (11, 3),
}
"""The outline of an SD3.5 checkpoint."""


def mutations(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield (kind of mutation, file) in random order, the same for the same seed."""
    chance = random.Random(seed)
    originals = [checkpoint(SMALL), checkpoint(JOINT, "BF16"), checkpoint(SMALL, "F8_E4M3")]
    for _ in range(count):
        kind = chance.choice(list(KINDS))
        yield kind, KINDS[kind](chance, chance.choice(originals))


def _header(file: bytes) -> tuple[bytes, bytes]:
    """Return (header, data) of a file that is whole."""
    end = 8 + int.from_bytes(file[:8], "little")
    return file[8:end], file[end:]


def _cut(chance: random.Random, file: bytes) -> bytes:
    return file[: chance.randrange(len(file))]


def _extended(chance: random.Random, file: bytes) -> bytes:
    return file + chance.randbytes(chance.randrange(1, 99))


def _flipped(chance: random.Random, file: bytes) -> bytes:
    """Flip bits in the length and the header."""
    changed, end = bytearray(file), 8 + len(_header(file)[0])
    for _ in range(chance.randrange(1, 9)):
        changed[chance.randrange(end)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _flipped_text(chance: random.Random, file: bytes) -> bytes:
    """Exchange one character of the header, which mostly stays JSON."""
    header, data = _header(file)
    index = chance.randrange(len(header))
    new = chance.choice(b'0123456789abcFI_."{}[],:- \\')
    return pack(header[:index] + bytes([new]) + header[index + 1 :], data)


def _absurd_length(chance: random.Random, file: bytes) -> bytes:
    header, data = _header(file)
    lengths = [0, 1, 2, len(header) - 1, len(header) + 1, len(file), 2**24, 2**31, 2**63, 2**64 - 1]
    return pack(header, data, chance.choice([*lengths, chance.randrange(2**64)]))


def _doubled(chance: random.Random, file: bytes) -> bytes:
    """Name one tensor twice."""
    header, data = _header(file)
    name, entry = chance.choice(list(json.loads(header).items()))
    return pack(b"{" + json.dumps({name: entry}).encode()[1:-1] + b"," + header[1:], data)


def _zeroed(chance: random.Random, file: bytes) -> bytes:
    """Write zeros over a span, as a download does that was never finished."""
    start = chance.choice([0, 8, chance.randrange(len(file))])
    stop = chance.choice([len(file), chance.randrange(len(file))])
    return file[:start] + bytes(max(0, stop - start)) + file[max(start, stop) :]


def _foreign(chance: random.Random, file: bytes) -> bytes:
    """Something else under this name."""
    starts = [
        b"<!DOCTYPE html><html><head><title>Log in</title></head>", b"\n<html>", b"<?xml ?><Error>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 6938041050\n",
        b"PK\x03\x04\x00\x00\x08\x08archive/data.pkl", b"\x80\x02}q\x00X\x05", b"GGUF\x03\x00\x00",
        b"Access denied", b'{"error": "not found"}', b"\x89PNG\r\n\x1a\n", b"\x1f\x8b\x08\x00",
        b"RIFF", b"MZ", b"\xef\xbb\xbf{}", b"\n", b" ", b"",
    ]  # fmt: skip
    return chance.choice(starts) + chance.choice([b"", file])


def _noise(chance: random.Random, file: bytes) -> bytes:
    return chance.randbytes(chance.randrange(300))


def _noisy_header(chance: random.Random, file: bytes) -> bytes:
    return pack(b"{" + chance.randbytes(chance.randrange(200)), _header(file)[1])


def _edited(chance: random.Random, file: bytes) -> bytes:
    """Give one field of one entry a value that it cannot have."""
    header, data = _header(file)
    entries = json.loads(header)
    entry = entries[chance.choice([name for name in entries if name != "__metadata__"])]
    field = chance.choice(["dtype", "shape", "data_offsets", "extra"])
    entry[field] = chance.choice(VALUES)
    return pack(entries, data)


VALUES = [
    None, True, 0, -1, 1.5, "", "F32", "f16", "Q8_0", [], [0], [1], [0, 0], [0, 1], [1, 0], [-1, 4],
    [0, 2**63], [2**64, 2**64], [2**62, 2**62], [10**400], [0.0, 16.0], [True, False], ["0", "4"],
    [[0, 4]], [None], {}, {"a": 1}, [0] * 5000, 10**4000, float("nan"), float("inf"), "\ud800",
]  # fmt: skip


def _shifted(chance: random.Random, file: bytes) -> bytes:
    """Move one offset, so that tensors overlap, leave a gap or leave the file."""
    header, data = _header(file)
    entries = json.loads(header)
    entry = entries[chance.choice([name for name in entries if name != "__metadata__"])]
    ends = chance.choice([(0,), (1,), (0, 1)])
    step = chance.choice([-300, -2, -1, 1, 2, 300, 2**40])
    offsets = entry["data_offsets"]
    entry["data_offsets"] = [item + step * (index in ends) for index, item in enumerate(offsets)]
    return pack(entries, data)


def _other_metadata(chance: random.Random, file: bytes) -> bytes:
    header, data = _header(file)
    value = chance.choice([*VALUES, {"a": None}, {"a": {"b": "c"}}, {"é\u0000": "\U0001f600"}])
    return pack(json.loads(header) | {"__metadata__": value}, data)


def _nested(chance: random.Random, file: bytes) -> bytes:
    """JSON that is made to exhaust a stack or a memory."""
    deep = chance.choice([100, 1000, 20_000])
    opening, closing = chance.choice([(b"[", b"]"), (b'{"a":', b"}")])
    bombs = [
        b'{"a":' + opening * deep + b"0" + closing * deep + b"}",
        b'{"a":' + opening * deep,
        b'{"a":[' + b"[]," * deep + b"0]}",
        b'{"a":{"dtype":' + opening * deep + b"0" + closing * deep
        + b',"shape":[],"data_offsets":[0,0]}}',
        b'{"a":' + b"9" * deep + b"}",
        b'{"' + b'\\"' * deep,
        b"{" * deep,
        b"[" * deep,
    ]  # fmt: skip
    return pack(chance.choice(bombs))


def _renamed(chance: random.Random, file: bytes) -> bytes:
    """Names with what terminals and file systems dislike."""
    header, data = _header(file)
    entries = json.loads(header)
    name = chance.choice([name for name in entries if name != "__metadata__"])
    new = chance.choice(["", "\x1b[31mred", "a\nb", "é\u202e", "\x00", "x" * 5000, "\ud800", "."])
    return pack({new if key == name else key: entry for key, entry in entries.items()}, data)


def _untouched(chance: random.Random, file: bytes) -> bytes:
    return file


KINDS: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "cut": _cut,
    "extended": _extended,
    "flipped": _flipped,
    "flipped text": _flipped_text,
    "absurd length": _absurd_length,
    "doubled": _doubled,
    "zeroed": _zeroed,
    "foreign": _foreign,
    "noise": _noise,
    "noisy header": _noisy_header,
    "edited": _edited,
    "shifted": _shifted,
    "other metadata": _other_metadata,
    "nested": _nested,
    "renamed": _renamed,
    "untouched": _untouched,
}
