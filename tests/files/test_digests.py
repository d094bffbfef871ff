"""Files of JSON that carry their own digest."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from attn.errors import DamagedError, TraceError
from attn.files.digests import is_sealed, read_sealed, require_digest, require_seal, seal
from attn.files.disk import encode_json
from attn.files.outside import decode_json

FACTS = {"schema": 1, "name": "Кот", "sizes": [0.1, 2, None], "empty": {}}
FILE = seal(encode_json(FACTS))


def flipped(data: bytes, bit: int) -> bytes:
    """Return data with one bit changed."""
    index, mask = divmod(bit, 8)
    return data[:index] + bytes([data[index] ^ 1 << mask]) + data[index + 1 :]


def read(path: Path, data: bytes) -> dict[str, object]:
    """Write a file and read it as one that may be sealed."""
    path.write_bytes(data)
    return read_sealed(path, dict[str, object], newest=1, expected="a test", hint="Look.")


def test_a_sealed_file_is_the_same_with_one_field_more(tmp_path: Path) -> None:
    """Anybody can check it: the digest is that of the file with zeros in its place."""
    digest = json.loads(FILE)["sha256"]
    assert read(tmp_path / "a.json", FILE) == FACTS | {"sha256": digest}
    assert digest == sha256(FILE.replace(digest.encode(), b"0" * 64)).hexdigest()
    assert is_sealed(FILE)


def test_every_bit_of_a_sealed_file_counts(tmp_path: Path) -> None:
    """Whatever bit changes, of the value, of the digest or of its name, it is noticed."""
    path = tmp_path / "a.json"
    for bit in range(8 * len(FILE)):
        data = flipped(FILE, bit)
        with pytest.raises(DamagedError):
            decode_json(path, data, dict[str, object], error=DamagedError)
            require_seal(path, data)


def test_a_file_without_a_digest_is_believed(tmp_path: Path) -> None:
    """Files of earlier versions have none."""
    data = encode_json(FACTS)
    assert read(tmp_path / "a.json", data) == FACTS
    assert not is_sealed(data)
    require_seal(tmp_path / "a.json", data)


def test_a_newer_file_is_no_damage(tmp_path: Path) -> None:
    """It says what to do about it."""
    with pytest.raises(TraceError, match="has schema 2, this attn reads up to schema 1: update"):
        read(tmp_path / "a.json", seal(encode_json(FACTS | {"schema": 2})))


def test_the_digest_of_another_file(tmp_path: Path) -> None:
    """A file whose digest stands elsewhere is compared with it, and named."""
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    require_digest(path, sha256(b"abc").hexdigest())
    with pytest.raises(DamagedError, match=f"{path} has SHA-256 ba7816bf.*, expected 00"):
        require_digest(path, "00")
    with pytest.raises(TraceError, match=r"could not read .*gone"):
        require_digest(tmp_path / "gone", "00")
