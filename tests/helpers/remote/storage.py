"""A storage in memory, behind URLs such as `memory://RUN`, that tells what is asked of it."""

from fsspec.implementations.memory import MemoryFileSystem


class Storage:
    """Files in memory.

    Attributes:
        asked: paths that were opened for reading, in that order.
    """

    def __init__(self, patch):
        self.files, self.asked = MemoryFileSystem(), []
        self.files.store.clear()
        self.files.pseudo_dirs[:] = [""]
        plain = MemoryFileSystem.open

        def tell(files, path, mode="rb", **arguments):
            if mode == "rb":
                self.asked.append(files._strip_protocol(path).lstrip("/"))
            return plain(files, path, mode, **arguments)

        patch.setattr(MemoryFileSystem, "open", tell)

    def share(self, folder, name):
        """Copy a folder there, and return its URL."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())
        return f"memory://{name}"

    def put(self, name, data):
        """Write a file there."""
        self.files.pipe_file(f"/{name}", data)
