"""Screen C: what a comparison found, against its tables; and traces side by side."""

import csv
import io
import json

import numpy as np
import pytest

import attn
from attn.trace.trace import open_trace
from tests.helpers.browsing.axe import violations
from tests.helpers.browsing.pages import HOSTILE, eventually, percent, point, points, saved
from tests.helpers.toy_traces import manifest, read_csv, write_collection

SEEDS, GRID = [7, 3, 5, 11, 2], (6, 10)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Two collections of five seeds and their comparison, beside each other."""
    root = tmp_path_factory.mktemp("compared")
    write_collection(root / "base", SEEDS)
    write_collection(root / "style", SEEDS, seed=100)
    attn.compare(root / "base", root / "style", out=root, pictures=False)
    return root


@pytest.fixture
def shown(look, compared):
    """The page of that comparison."""

    def open_page(at=""):
        page = look(compared, at=f"t={number(compared)}&{at}")
        page.wait_for_selector("#step-changes")  # of the last of the tables with words
        return page

    return open_page


def number(root):
    """Return the number that the page gives the comparison."""
    folders = sorted([*root.glob("base/0*"), root / "comparison", *root.glob("style/0*")])
    return folders.index(root / "comparison")


def table(root, name, **cells):
    """Return rows of a table with these cells."""
    rows = read_csv(root / "comparison/tables" / name)
    return [row for row in rows if all(row[key] == value for key, value in cells.items())]


def test_words_with_intervals(shown, compared):
    """Words stand by their change, with the table's numbers; grey is where 0 is held."""
    page = shown()
    rows = page.locator(".changes tbody tr")
    expected = sorted(table(compared, "mass.csv"), key=lambda row: -abs(float(row["change"])))
    changes = [points(float(row["change"])) for row in expected]
    eventually(lambda: [row.split("\t")[3] for row in rows.all_inner_texts()], changes)
    unsure = [float(row["low"]) <= 0 <= float(row["high"]) for row in expected]
    classes = "all => all.map(row => row.classList.contains('unsure'))"
    eventually(lambda: rows.evaluate_all(classes), unsure)
    assert page.inner_text(".answer") == attn_answer(compared)


def attn_answer(root):
    """Return the sentences of the comparison."""
    return json.loads((root / "comparison/comparison.json").read_text())["answer"]


GREY = (150, 150, 156, 255)
PIXELS = """canvas =>
  [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]"""


def test_difference_map(shown, compared):
    """A place says the table's row in all three maps at once; grey is where 0 is held."""
    page = shown("word=bobcat%7C1%7Cclip")
    page.wait_for_selector("h2:has-text('bobcat')")
    (row,) = table(compared, "difference.csv", word="bobcat", segment="clip", row="2", column="3")
    cell = point(page, page.locator("#difference .panel-box").nth(2), 2, 3, GRID)
    page.wait_for_selector(f"#place:has-text('{points(float(row['change']))} points')")
    page.wait_for_selector("#difference .cursor >> nth=2")
    page.mouse.click(*cell)
    page.wait_for_selector(".chip:has-text('row 2, column 3')")
    held = [
        float(item["low"]) <= 0 <= float(item["high"])
        for item in table(compared, "difference.csv", word="bobcat", segment="clip")
    ]
    canvas = page.locator("#difference canvas").nth(2)
    eventually(
        lambda: (np.reshape(canvas.evaluate(PIXELS), (-1, 4)) == GREY).all(-1).tolist(), held
    )


def test_files_of_a_comparison(shown, compared):
    """Figures are saved, and numbers as they stand in the tables."""
    page = shown("word=cat%7C1%7Cclip")
    files = saved(page, "section[aria-label='Where it changed'] .saving")
    rows = list(csv.DictReader(io.StringIO(files["CSV"].decode())))
    expected = table(compared, "difference.csv", word="cat", segment="clip")
    for column in ("base", "variant", "change", "low", "high"):
        got = [float(row[column]) for row in rows]
        np.testing.assert_allclose(got, [float(row[column]) for row in expected], rtol=1e-12)


def test_comparison_is_accessible(shown):
    """Axe finds nothing, in light and dark."""
    assert violations(shown("place=1,1")) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda text: text.replace('"schema": 1', '"schema": 9'),
            "reads up to schema 1: update attn",
        ),
        (lambda text: '{"foreign": true}', "is not the index of a comparison"),
        (lambda text: text[: len(text) // 2], "is not the index of a comparison"),
    ],
    ids=["newer", "foreign", "cut"],
)
def test_comparisons_that_are_none(change, said, visit, compared, tmp_path):
    """A comparison of another format says so, in the page and in the list."""
    index = tmp_path / "x/comparison/comparison.json"
    index.parent.mkdir(parents=True)
    index.write_text(change((compared / "comparison/comparison.json").read_text()))
    page = visit(tmp_path / "x")
    page.wait_for_selector(f".error:has-text('{said}')")


@pytest.mark.parametrize("column", ["scale", "file"])
def test_sweep(column, visit, compared, tmp_path):
    """A sweep says its table's rows by keys, over scales and over the files of a training."""
    folder = tmp_path / "comparison"
    (folder / "tables").mkdir(parents=True)
    facts = json.loads((compared / "comparison/comparison.json").read_text())
    files = ["step-30", "end"] if column == "file" else []
    facts["sweep"] = {"name": "LoRA style", "base": 0, "scales": [1, 2], "files": files}
    facts["files"] = ["tables/sweep.csv"]
    (folder / "comparison.json").write_text(json.dumps(facts))
    (folder / "tables/sweep.csv").write_text(
        f"{column},variant_name,word,change,low,high,level,level_low,level_high,works,breaks\n"
        "1,style,cat,0.0213,-0.011,0.037,3.25,1.5,5,0,0\n2,style,cat,0.131,0.11,0.17,17,13,19,1,0\n"
    )
    page = visit(folder)
    last = "end" if files else "2"
    page.wait_for_selector(f"section[aria-label=Sweep] p:has-text('works from {column} {last}.')")
    page.focus("#sweep")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    said = f"{column} {last}: “cat” +13.1 points (+11.0 to +17.0), images 17.00 of 255"
    page.wait_for_selector(f"section[aria-label=Sweep] p:text-is('{said}')")
    places = page.eval_on_selector_all(
        "#sweep circle", "all => all.map(one => one.cx.baseVal.value)"
    )
    assert places[0] < places[1]
    assert places[:2] == places[2:]


def test_cuts_and_their_controls(visit, compared, tmp_path):
    """A cut is held against its controls; they are marked, and not what is shown first."""
    folder = tmp_path / "comparison"
    (folder / "tables").mkdir(parents=True)
    facts = json.loads((compared / "comparison/comparison.json").read_text())
    cut = facts["variants"][0] | {"name": "cat cut"}
    facts["variants"] = [cut, cut | {"name": "random 0 like cat"}]
    facts |= {"files": ["tables/cuts.csv"], "controls": {"random 0 like cat": "random of cat cut"}}
    (folder / "comparison.json").write_text(json.dumps(facts))
    bounds = "{0}change,{0}low,{0}high"
    columns = ",".join(bounds.format(name) for name in ("", "random_", "difference_"))
    (folder / "tables/cuts.csv").write_text(
        f"cut,word,measure,{columns},n\ncat cut,cat,inside,17,13,19,5,-2.5,11.25,12,,,7\n"
    )
    page = visit(folder)
    page.wait_for_selector("h1:has-text('cat cut against base')")
    row = page.locator("section[aria-label='What the cut does'] tbody tr")
    row.wait_for()
    cells = ["inside of the word's map", "17.00 13.00 to 19.00"]
    cells += ["5.00 \u22122.50 to 11.25, holds 0", "12.00"]
    assert [text.strip() for text in row.locator("th, td").all_inner_texts()] == cells
    page.click("button:has-text('random 0 like cat (control)')")
    page.wait_for_selector("p:has-text('A control: random of cat cut.')")
    assert page.locator("section[aria-label='What the cut does']").count() == 0
    assert violations(page) == []


def test_hostile_comparison(visit, compared, tmp_path):
    """Names, answers, settings and words are text; paths lead to no file that was not opened."""
    folder = tmp_path / "comparison"
    (folder / "tables").mkdir(parents=True)
    facts = json.loads((compared / "comparison/comparison.json").read_text())
    facts["answer"] = facts["variants"][0]["name"] = facts["base"]["name"] = HOSTILE
    facts["base"]["path"] = facts["variants"][0]["path"] = "/etc"
    facts["variants"][0]["differences"] = [{"name": HOSTILE, "base": HOSTILE, "variant": [HOSTILE]}]
    facts["files"] = ["tables/mass.csv", "../secret.csv"]
    (folder / "comparison.json").write_text(json.dumps(facts))
    text = (compared / "comparison/tables/mass.csv").read_text()
    cell = '"' + HOSTILE.replace('"', '""') + '"'
    (folder / "tables/mass.csv").write_text(text.replace("bobcat", cell))
    (tmp_path / "secret.csv").write_text("secret")
    page = visit(folder)
    page.wait_for_selector(".changes .word:has-text('onerror')")
    assert page.locator("img, script:not([src])").count() == 0
    assert page.title() == "comparison · attn" and "\u202e" not in page.content()
    answer = page.evaluate(
        "fetch('t/0/' + encodeURIComponent('../secret.csv')).then(one => one.status)"
    )
    assert answer == 404


def test_side_by_side(visit, compared):
    """Selected on the list, traces stand beside each other with one cursor and Python's numbers."""
    page = visit(compared)
    for name in ("base/0000", "style/0000"):
        page.check(f"label:has-text('select {name}') input")
    page.keyboard.press("c")
    page.wait_for_selector("#sides .panel-box >> nth=2")
    page.wait_for_selector(".side-words td:nth-child(4):has-text('.')")  # both are read
    point(page, page.locator("#sides .panel-box").nth(1), 4, 7, GRID)
    page.wait_for_selector("h2:has-text('At row 4, column 7 of 6 × 10')")
    page.wait_for_selector("#sides .cursor >> nth=2")
    rows = [row.split("\t") for row in page.locator(".side-words tbody tr").all_inner_texts()]
    maps = [
        open_trace(compared / name / "0000").word_maps().isel(sample=0, row=4, column=7)
        for name in ("base", "style")
    ]
    values = {str(word): at for at, word in enumerate(maps[0]["word"].values)}
    assert [row[0] for row in rows if row[0] == "bobcat"] == ["bobcat"]
    for word, base, style, change in rows:
        a, b = (float(item.values[0, values[word]]) for item in maps)
        assert (base, style) == (percent(a), percent(b))
        assert change == points(b - a)


def test_sides_have_one_scale(visit, compared):
    """Several paths open side by side; pinned words have one scale; the address holds it."""
    paths = [compared / name / "0001" for name in ("base", "style")]
    page = visit(*paths, at="pins=clip.cat.1+clip.bobcat.1&spot=0.75,0.25")
    page.wait_for_selector("#sides .panel-box >> nth=5")
    page.wait_for_selector("#sides .cursor.pinned")
    maps = [open_trace(path).word_maps(["cat", "bobcat"]).values for path in paths]
    top = max(float(item.max()) for item in maps)
    page.wait_for_selector(f".side-scales .figure-text:text-is('{percent(top)}')")
    assert violations(page) == []
    page.click("text=All 2")
    page.wait_for_selector(".card >> nth=1")


def test_other_prompts_side_by_side(visit, tmp_path):
    """A word that only one of the traces has says so in the other."""
    about = manifest(samples=1)
    write_collection(tmp_path / "a", [3], about)
    write_collection(tmp_path / "b", [3], about, prompt="A dog, a bobcat")
    page = visit(tmp_path / "a/0000", tmp_path / "b/0000", at="pins=clip.cat.1")
    page.wait_for_selector("#sides .panel-box >> nth=2")
    page.wait_for_selector("#sides figcaption:has-text('not in this prompt')")
