"""What the page is told of comparisons, and which of their files it may read."""

import gzip
import json
import re
from base64 import b64decode

import pytest

from attn.errors import TraceError
from attn.explorer.listing.library import open_library
from attn.explorer.opened import facts_of, file_of
from attn.explorer.page import make_page
from tests.helpers.toy_traces import write_collection, write_trace

INDEX = {
    "schema": 1,
    "base": {"name": "base", "path": "/elsewhere/base"},
    "variants": [{"name": "style", "path": "/elsewhere/style", "pairs": 2, "same_noise": 1}],
    "files": ["tables/mass.csv", "../secret.txt"],
    "answer": "Nothing changed.",
}


@pytest.fixture
def root(tmp_path):
    """Two collections and a comparison that was made of them in another place."""
    write_collection(tmp_path / "base", [7, 3])
    write_collection(tmp_path / "style", [3, 5])
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "comparison/tables").mkdir(parents=True)
    (tmp_path / "comparison/tables/mass.csv").write_text("word,change\ncat,0.5\n")
    write_index(tmp_path, INDEX)
    return tmp_path


def write_index(root, index):
    """Write what a comparison says of itself."""
    (root / "comparison/comparison.json").write_text(json.dumps(index))


def facts(library):
    """Return what the page is told of the comparison."""
    (item,) = (item for item in library.items if item.kind == "comparison")
    return item, json.loads(facts_of(item, library))


def test_pairs_are_those_that_were_opened(root):
    """Traces beside a comparison are its runs', by prompt and seed, wherever all of it lies now."""
    library = open_library([root])
    _, told = facts(library)
    ids = {item.label: item.id for item in library.items}
    pairs = {pair["seed"]: pair["ids"] for pair in told["pairs"]}
    assert pairs == {
        7: {"base": ids["base/0000"]},
        3: {"base": ids["base/0001"], "style": ids["style/0000"]},
        5: {"style": ids["style/0001"]},
    }
    assert (told["screen"], told["answer"]) == ("comparison", "Nothing changed.")


def test_alone(root):
    """A comparison that is opened by itself has no pairs to show, whatever paths it names."""
    write_index(root, INDEX | {"base": {"name": "base", "path": str(root / "base")}})
    _, told = facts(open_library([root / "comparison"]))
    assert told["pairs"] == []
    assert told["tables"] == {"tables/mass.csv": 20}


def test_files_of_a_comparison(root):
    """Only what its index lists, and lies in its folder, can be read."""
    item, _ = facts(open_library([root]))
    assert file_of(item, "tables/mass.csv") == (root / "comparison/tables/mass.csv").resolve()
    assert file_of(item, "../secret.txt") is None
    assert file_of(item, "comparison.json") is None


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (INDEX | {"schema": 2}, "has schema 2, this attn reads up to schema 1: update attn"),
        ({"made": "by others"}, "is not the index of a comparison"),
        (INDEX | {"variants": "many"}, "is not the index of a comparison"),
    ],
    ids=["newer", "foreign", "of other types"],
)
def test_other_formats(index, said, root):
    """What is no comparison that is understood is refused, and listed with the reason."""
    write_index(root, index)
    library = open_library([root / "comparison"])
    with pytest.raises(TraceError, match=said):
        facts_of(library.items[0], library)
    (row,) = json.loads(library.index())["items"]
    assert said in row["error"]


def test_traces_that_are_named(tmp_path):
    """Two to four traces that are named one by one stand side by side; those of a folder do not."""
    paths = [write_trace(tmp_path / name) for name in ("a", "b")]
    assert open_library(paths).beside == ["0", "1"]
    assert open_library([tmp_path]).beside == []
    assert open_library(paths[:1]).beside == []


def test_in_one_file(root):
    """The page in one file holds a comparison with its tables, and nothing else of its folder."""
    library = open_library([root])
    item, told = facts(library)
    page = make_page(library, 20_000_000)
    held = dict(re.findall(r'data-name="(t/\d+/[^"]+)" data-kind="[^"]+">([^<]*)<', page.text))

    def content(name):
        return gzip.decompress(b64decode(held[f"t/{item.id}/{name}"]))

    assert json.loads(content("trace.json")) == told
    assert content("tables/mass.csv") == (root / "comparison/tables/mass.csv").read_bytes()
    assert not [name for name in held if "secret" in name]
