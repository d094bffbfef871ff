"""Find tokenizers on this machine; checkpoint files hold none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attn.backends.loading.explain import explained
from attn.backends.loading.family import CLIP_L, Part
from attn.backends.loading.templates.filling import bind
from attn.checkpoints.vocabularies import published
from attn.errors import ModelError
from attn.files.disk import is_file, is_there
from attn.files.outside import read_bytes, read_json

CLIP_LENGTH = 77

FILES = (
    *("tokenizer.json", "vocab.json", "merges.txt", "spiece.model"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)
"""Every file that a tokenizer can be read from."""

TEMPLATES = ("*.jinja", "additional_chat_templates/*.jinja")
"""What else the library reads beside those."""


@dataclass(frozen=True)
class TokenizerFiles:
    """A tokenizer on this machine.

    Attributes:
        folder: with its files.
        padding: token to pad with instead of its own, or None.
    """

    folder: Path
    padding: str | None = None


def find(part: Part, cls: Any, folders: Sequence[Path]) -> TokenizerFiles | None:
    """Look for a tokenizer: in folders, then in the hub's cache; the network is not touched.

    Args:
        part: that reads its tokens; its `tokenizer` is the sub-folder too.
        cls: its class, which knows the names of its files.
        folders: where to look first.
    """
    candidates = [folder / str(part.tokenizer) for folder in folders] + _cached(part.name)
    for candidate in candidates:
        if has_vocabulary(cls, candidate):
            return TokenizerFiles(candidate, part.padding)
    if part.padding is None:
        return None
    first = find(CLIP_L, cls, folders)
    return TokenizerFiles(first.folder, part.padding) if first else None


def has_vocabulary(cls: Any, folder: Path) -> bool:
    """Whether a folder holds what a tokenizer needs, in a form that needs no further package."""
    files: dict[str, str] = dict(getattr(cls, "vocab_files_names", {}))
    whole = files.pop("tokenizer_file", "tokenizer.json")
    if is_file(folder / whole):
        return True
    parts = [folder / file for file in files.values()]
    is_text = all(path.suffix in (".json", ".txt") for path in parts)
    return bool(parts) and is_text and all(is_file(path) for path in parts)


def load(cls: Any, files: TokenizerFiles) -> Any:
    """Read a tokenizer.

    Raises:
        ModelError: its files are missing, damaged, or no regular files.
    """
    _require_vocabulary(cls, files.folder)
    changes: dict[str, Any] = {} if files.padding is None else {"pad_token": files.padding}
    if "merges_file" in cls.vocab_files_names and not _has_length(files.folder):
        changes["model_max_length"] = CLIP_LENGTH
    return read(cls, files.folder, **changes)


def read(cls: Any, folder: Path, **changes: Any) -> Any:
    """Read the files of a tokenizer; none of their code is run, and the network is not touched.

    Raises:
        ModelError: they are damaged, or no regular files.
    """
    templates = (path for pattern in TEMPLATES for path in folder.glob(pattern))
    for path in (*(folder / name for name in FILES), *templates):
        if is_there(path):
            _require_whole(path)
    with explained(f"cannot load {folder}"):
        tokenizer = cls.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **changes
        )
        _require_unknown(tokenizer, folder)
        bind(tokenizer)
    return tokenizer


def _require_unknown(tokenizer: Any, folder: Path) -> None:
    """Refuse a tokenizer that looks for what stands for unknown tokens, and finds it unknown."""
    try:
        getattr(tokenizer, "all_special_ids", ())  # what reads pictures has none
    except RecursionError as exc:
        raise ModelError(
            f"{folder}: unk_token is {tokenizer.unk_token!r}, which is not in the vocabulary; "
            "expected one of its tokens. Download or save the model again."
        ) from exc


def _require_whole(path: Path) -> None:
    """Refuse what the library would wait for, or read without end."""
    if path.suffix == ".json":
        read_json(path, dict[str, Any], expected="a JSON object", error=ModelError)
    else:
        read_bytes(path, error=ModelError)


def _require_vocabulary(cls: type[Any], folder: Path) -> None:
    """Refuse a tokenizer without its files, of which the library would make an empty one."""
    files: dict[str, str] = dict(getattr(cls, "vocab_files_names", {}))
    whole = files.pop("tokenizer_file", None)
    if whole is None or is_file(folder / whole):
        return
    missing = [file for file in files.values() if not is_file(folder / file)]
    if missing:
        others = " and ".join(missing)
        raise ModelError(f"{folder} has no vocabulary: expected {whole}, or {others}")


def missing(repository: str | None, names: Sequence[str], folders: Sequence[Path]) -> ModelError:
    """Return the error that says what to download and where to put it.

    Args:
        repository: of the hub, with every tokenizer of the family; None names none.
        names: the tokenizers that were not found.
        folders: where they were looked for; they are expected in the last.
    """
    where, plural = folders[-1], "s" if len(names) > 1 else ""
    link, command = f"folder{plural} {', '.join(names)}", ""
    if repository is not None:
        wanted = " ".join(f"'{name}/*'" for name in names)
        link += f" of https://huggingface.co/{repository}"
        command = f": hf download {repository} --include {wanted} --local-dir {where}"
    return ModelError(
        f"checkpoint files hold no tokenizers; {' and '.join(names)} {'are' if plural else 'is'} "
        f"neither in {', '.join(map(str, folders))} nor in the hub's cache. Download the {link} "
        "(a few MB: tokenizer_config.json, special_tokens_map.json, vocab.json and merges.txt of "
        f"CLIP, tokenizer.json of T5) into {where}, or point --set tokenizers=DIR at the folder "
        f"that holds them{command}"
    )


def _has_length(folder: Path) -> bool:
    return is_file(folder / "tokenizer_config.json")


def _cached(part: str) -> list[Path]:
    """Return folders of the hub's cache in which the tokenizer of a part may lie."""
    from huggingface_hub import try_to_load_from_cache

    folders = []
    for repository, folder in published(part):
        for file in ("tokenizer.json", "vocab.json"):
            filename = f"{folder}/{file}" if folder else file
            path = try_to_load_from_cache(repository, filename)
            if isinstance(path, str):
                folders.append(Path(path).parent)
    return folders
