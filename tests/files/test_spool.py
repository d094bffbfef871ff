"""Values in a file without a name, and objects that are written part by part."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from attn.files import spool
from attn.files.disk import json_text, write_json
from attn.files.spool import SpooledList


@dataclass(frozen=True)
class Item:
    """Has all that results have: paths, texts that are not UTF-8, tuples, mappings."""

    folder: Path | None
    names: tuple[str, ...]
    skipped: dict[str, str]


ODD = os.fsdecode(b"r\xf8d")
ITEMS = [
    Item(Path("run", ODD), ("a.csv", "ü\n"), {"words": "no “map”"}),
    Item(None, (), {}),
    Item(Path("/tmp"), (ODD,), {}),
]


@pytest.mark.parametrize("largest", [7, 2**18])
def test_values_come_back(largest, monkeypatch):
    """What is in the file is what was added, in memory or on the disk, from any place of it."""
    monkeypatch.setattr(spool, "LARGEST", largest)
    values = SpooledList(Item, ITEMS)
    assert [*values] == ITEMS
    assert values[-1] == ITEMS[-1]
    assert values[1:] == ITEMS[1:]
    assert len(values) == len(ITEMS)


@pytest.mark.parametrize("values", [[], [1], [{"a": [], "b": {"c": "x\ny"}}, ODD, None]])
def test_json_in_parts(values, tmp_path):
    """An object is spelled alike, whether its lists are there or come value by value."""
    write_json(tmp_path / "index.json", {"schema": 1, "values": iter(values), "last": {}})
    text = json_text({"schema": 1, "values": values, "last": {}})
    assert (tmp_path / "index.json").read_text(encoding="utf-8") == text
