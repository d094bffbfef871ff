"""Files behind a URL, read through fsspec; nothing is asked for unless a URL was typed.

Which kinds of URL there are is a matter of the packages that are installed, and so are keys and
passwords: fsspec finds them where each package looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.metadata import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.errors import AttnError, DamagedError, TraceError, UsageError
from attn.files.disk import replaced_file, reported
from attn.files.names import shown_url

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

REFUSED = {
    "async_wrapper", "asyncwrapper", "blockcache", "cached", "dask", "filecache", "generic",
    "reference", "simplecache",
}  # fmt: skip
"""Kinds of fsspec that keep files themselves, run what files say, or have others read."""
BLOCK = 2**22
"""Bytes that are asked for at once."""


class AbsentError(TraceError):
    """There is no such file behind a URL."""


class RemoteFolder:
    """The files below a URL.

    Attributes:
        url: as it is shown.
        is_parallel: whether several files may be read at once.
    """

    def __init__(self, url: str) -> None:
        """Find out what reads such a URL.

        Raises:
            UsageError: nothing that is installed does.
            TraceError: it cannot be reached.
        """
        self.url = shown_url(url.rstrip("/"))
        self._files, root = _open(url, self.url)
        self._root = root.rstrip("/")
        self.is_parallel = bool(getattr(self._files, "async_impl", False))

    def read(self, name: str, most: int) -> bytes:
        """Return the content of a file.

        Args:
            name: below the URL.
            most: bytes that it may have.

        Raises:
            AbsentError: there is none.
            TraceError: it cannot be read, or has more.
        """
        return b"".join(self._parts(name, most))

    def save(self, name: str, goal: Path, most: int, digest: str | None) -> None:
        """Write a file to the disk, whole or not at all.

        Args:
            name: below the URL.
            goal: where it is written.
            most: bytes that it may have.
            digest: its SHA-256, where that is listed.

        Raises:
            TraceError: it cannot be read, has more, or cannot be written.
            DamagedError: it is another.
        """
        seen = sha256()
        with reported(goal), replaced_file(goal) as stream:
            for part in self._parts(name, most):
                seen.update(part)
                stream.write(part)
            if digest is not None and seen.hexdigest() != digest:
                raise DamagedError(
                    f"{self.url}/{name} has SHA-256 {seen.hexdigest()}, expected {digest}: it is "
                    "damaged, or was written again meanwhile. Copy it there again."
                )

    def names(self) -> list[str]:
        """Return the names of what lies directly below the URL; nothing where none are told."""
        try:
            listed = self._files.ls(self._root, detail=False)
        except Exception:  # noqa: BLE001 - of any package; many storages list nothing
            return []
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in listed)

    def _parts(self, name: str, most: int) -> Iterator[bytes]:
        path, count = f"{self._root}/{name}" if self._root else name, 0
        with _told(f"{self.url}/{name}"), self._files.open(path, block_size=BLOCK) as stream:
            while part := stream.read(BLOCK):
                count += len(part)
                if count > most:
                    raise TraceError(
                        f"cannot read {self.url}/{name}: it has more than the {most} bytes that "
                        "it may have"
                    )
                yield part


def _open(url: str, shown: str) -> tuple[AbstractFileSystem, str]:
    kinds = [link.partition("://")[0].lower() for link in url.split("::")]
    for kind in REFUSED.intersection(kinds):
        raise UsageError(
            f"{shown}: nothing is read through {kind}://; name where the files lie, such as "
            "s3://BUCKET/RUN"
        )
    if "?" in url or "#" in url:
        raise UsageError(f"{shown}: expected the URL of a folder, which has no ? and no #")
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise UsageError(
            f"{shown}: URLs are read by the package fsspec, which is not here: pip install fsspec"
        ) from error
    try:
        files, root = url_to_fs(url)
    except ImportError as error:
        raise UsageError(
            f"{shown}: a package is missing that reads {kinds[0]}://: {_install(kinds, error)}"
        ) from error
    except ValueError as error:
        raise UsageError(f"{shown}: this is no URL that fsspec reads: {error}") from error
    except Exception as error:  # of any package
        raise _unread(shown, error) from error
    return files, str(root)


def _install(kinds: list[str], error: ImportError) -> str:
    extras = metadata("fsspec").get_all("Provides-Extra") or []
    named = [{"https": "http", "s3a": "s3"}.get(kind, kind) for kind in kinds]
    extra = next((kind for kind in named if kind in extras), None)
    return f"pip install 'fsspec[{extra}]'" if extra else str(error)


@contextmanager
def _told(shown: str) -> Iterator[None]:
    """Turn what any package raises into errors of ours."""
    try:
        yield
    except AttnError:
        raise
    except FileNotFoundError as error:
        if isinstance(error.__cause__, OSError) and not isinstance(
            error.__cause__, FileNotFoundError
        ):  # what http says of a host that does not answer
            raise _unread(shown, error.__cause__) from error
        raise AbsentError(f"{shown} does not exist") from error
    except Exception as error:  # of any package
        raise _unread(shown, error) from error


def _unread(shown: str, error: Any) -> TraceError:
    reason = str(error) or type(error).__name__
    return TraceError(f"cannot read {shown}: {reason}. Check the URL, and what lets you read it.")
