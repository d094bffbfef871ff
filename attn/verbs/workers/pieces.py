"""What is known of single traces of a run, kept until it is put together.

Whoever looks at a trace, a worker or a shard, leaves a piece: a file with what the tables of all
traces need of it. Who then makes these tables reads the pieces in the order of the traces, so that
they are, bit for bit, those that one process makes. A piece is named by all that decides it, and
signed with the key of the cache: one that is damaged, or came with a run of others, is as good as
none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest, digest
from io import BytesIO
from pathlib import Path
from stat import S_ISREG
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from attn.errors import TraceError
from attn.files.cache import cache_key
from attn.files.disk import is_folder, reported, write_atomic
from attn.files.outside import open_regular, read_bytes
from attn.versions import attn_version

FACTS = "facts"
"""The array of a piece that holds its facts, as JSON."""
TAG = 32
"""Bytes at the beginning of a piece that sign the rest."""
ZIP = b"PK\x03\x04"
"""What NumPy's files of several arrays begin with."""
NAME = re.compile(r"[0-9a-f]{40}\.npz(\.\d+\.part)?")
"""Names of pieces, and of those that were being written."""


@dataclass(frozen=True)
class TracePiece:
    """What is known of one trace.

    Attributes:
        facts: what JSON has, NaN and infinity too.
        arrays: numbers, by name.
    """

    facts: Any
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class PieceFolder:
    """The pieces of one run of a verb, in a folder beside its results."""

    def __init__(self, folder: Path, options: Any) -> None:
        """Name a folder, which need not exist.

        Args:
            folder: of the pieces.
            options: all that decides them, beside traces and version.
        """
        self._folder = folder
        self._options = msgspec.to_builtins(options, enc_hook=str)

    def is_there(self) -> bool:
        """Whether there can be pieces."""
        return is_folder(self._folder) and not self._folder.is_symlink()

    def read(self, *of: str) -> TracePiece | None:
        """Return the piece of a trace, or None if there is none."""
        path = self._path(of)
        try:
            stored, key = read_bytes(path), cache_key()
        except TraceError:
            return None
        data = stored[TAG:]
        if key is None or not compare_digest(_tag(key, path, data), stored[:TAG]):
            return None
        with np.load(BytesIO(data), allow_pickle=False) as read:
            arrays = {name: read[name] for name in read.files}
        return TracePiece(json.loads(arrays.pop(FACTS).tobytes()), arrays)

    def write(self, piece: TracePiece, *of: str) -> None:
        """Keep the piece of a trace.

        Args:
            piece: what is known.
            of: which trace, and the SHA-256 of its manifest.

        Raises:
            TraceError: the disk is full, permission is missing, …, or the folder is a link.
        """
        if self._folder.is_symlink():
            raise TraceError(
                f"{self._folder} is a symbolic link: nothing is written where that leads; move it "
                "away"
            )
        facts = json.dumps(msgspec.to_builtins(piece.facts, enc_hook=str)).encode("ascii")
        stream = BytesIO()
        np.savez(
            stream,
            allow_pickle=False,
            **{**piece.arrays, FACTS: np.frombuffer(facts, np.uint8)},
        )
        path, data, key = self._path(of), stream.getvalue(), cache_key(make=True)
        write_atomic(path, _tag(key or b"", path, data) + data)

    def remove(self) -> None:
        """Take all pieces away, those of other options too; what is none stays."""
        if not self.is_there():
            return
        with reported(self._folder, "remove"):
            for path in filter(_is_piece, self._folder.iterdir()):
                path.unlink(missing_ok=True)
            if not any(self._folder.iterdir()):
                self._folder.rmdir()

    def _path(self, of: tuple[str, ...]) -> Path:
        key = json.dumps([attn_version(), self._options, *of], sort_keys=True).encode("ascii")
        return self._folder / f"{sha256(key).hexdigest()[:40]}.npz"


def _is_piece(path: Path) -> bool:
    """Whether a file is a piece, or what a killed process left of one.

    A piece has its signature before what NumPy writes, which no other file has there.
    """
    if not NAME.fullmatch(path.name) or not S_ISREG(path.lstat().st_mode):
        return False
    if path.suffix == ".part":
        return True
    with open_regular(path) as stream:
        return stream.read(TAG + len(ZIP)).endswith(ZIP)


def _tag(key: bytes, path: Path, data: bytes) -> bytes:
    return digest(key, path.name.encode() + data, "sha256")
