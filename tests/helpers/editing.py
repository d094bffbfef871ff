"""Files as others leave them: edited, with the digest taken out, or none at all."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the fields of a file and leave it without a digest, like one of an older version."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    fields.pop("sha256", None)
    change(fields)
    path.write_text(json.dumps(fields), encoding="utf-8")


def unsealed(text: str) -> str:
    """Return the text of a file without its digest."""
    return re.sub(r',\s*"sha256": "[0-9a-f]{64}"\s*}\s*\Z', "\n}\n", text)


def special(path: Path, kind: str) -> Path:
    """Put something in the place of a file that would be waited for, or never ends."""
    path.unlink(missing_ok=True)
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case "circle":
            path.symlink_to(path.name)
    return path
