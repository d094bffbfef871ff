"""`report.html`, whatever it is about."""

import base64
import re
import shutil
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from attn.verbs.report_images import data_uri
from attn.verbs.report_page import (
    REPORT,
    SHOWN,
    ReportPage,
    Section,
    Sentence,
    digits,
    plain,
    write_report,
)

NASTY = '<script>alert("1")</script> & \ud800 \x1b]0;\x07 \u202e'


class Read(HTMLParser):
    """Collects tags, attributes and texts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data.strip())

    def every(self, tag, key):
        return [attrs[key] for name, attrs in self.tags if name == tag and key in attrs]


def page(**changes):
    """Return a page of a figure and two tables, one of them long."""
    tables = {
        "tables/mass.csv": {"word": [NASTY], "change": [0.123456], "low": [float("nan")]},
        "tables/long ü.csv": {"n": range(SHOWN + 3)},
    }
    sections = [
        Section("What matters", {"summary.png": f"all of {NASTY}"}, {}, is_open=True),
        Section("Everything else", {}, tables),
    ]
    paragraph = [
        Sentence("The word square gets 2.4×,", "tables/mass.csv"),
        Sentence("as is seen.", "summary.png"),
        Sentence("No more."),
    ]
    return ReportPage(NASTY, "toy", paragraph, sections, **changes)


@pytest.fixture
def written(tmp_path):
    Image.new("RGB", (5, 3), "red").save(tmp_path / "summary.png")
    write_report(page(notes=[NASTY]), tmp_path)
    return tmp_path


def test_offline(written):
    """The page is one file: its figures are in it, and it names no address to fetch from."""
    text = (written / REPORT).read_text("utf-8")
    (source,) = Read(text).every("img", "src")
    data = base64.b64decode(source.removeprefix("data:image/webp;base64,"))
    with Image.open(BytesIO(data)) as shown, Image.open(written / "summary.png") as figure:
        assert shown.size == figure.size
        np.testing.assert_allclose(np.asarray(shown, int), np.asarray(figure, int), atol=12)
    assert not re.findall(r"https?:|<script|<link|url\(|@import", text)


def test_escaped(written):
    """What others wrote, a prompt for one, is shown and never runs."""
    read = Read((written / REPORT).read_text("utf-8"))
    shown = NASTY
    for steering in "\ud800\x1b\x07\u202e":
        shown = shown.replace(steering, f"\\u{ord(steering):04x}")
    assert "script" not in {tag for tag, _ in read.tags}
    assert [text.count(shown) for text in read.texts if "alert" in text] == [1] * 5


def test_linked(written):
    """Every sentence made from a table or a figure leads to it on the same page."""
    read = Read((written / REPORT).read_text("utf-8"))
    anchors = read.every("div", "id") + read.every("figure", "id")
    targets = [href for href in read.every("a", "href") if href.startswith("#")]
    assert targets == ["#tables/mass.csv", "#summary.png"]
    assert {target.removeprefix("#") for target in targets} <= set(anchors)
    assert "tables/long%20%C3%BC.csv" in read.every("a", "href")


def test_cells(written):
    """Numbers have three digits, what is unknown is empty, and rows left out are counted."""
    read = Read((written / REPORT).read_text("utf-8"))
    assert "0.123" in read.texts
    assert "nan" not in read.texts
    assert "3 more rows in the file." in read.texts


def test_same_bytes(written, tmp_path):
    """The same results give the same bytes."""
    before = (written / REPORT).read_bytes()
    write_report(page(notes=[NASTY]), tmp_path)
    assert (tmp_path / REPORT).read_bytes() == before


def test_size(tmp_path, monkeypatch):
    """Figures are in the page at the size at which they are read, until there are too many."""
    names = [f"{number}.png" for number in range(4)]
    Image.effect_noise((2400, 1800), 9).save(tmp_path / names[0])
    for name in names[1:]:
        shutil.copy(tmp_path / names[0], tmp_path / name)
    wide, narrow = (
        len(data_uri(tmp_path / names[0], is_open=is_open)) for is_open in (True, False)
    )
    monkeypatch.setattr("attn.verbs.report_page.MOST_BYTES", wide + narrow)
    sections = [
        Section("Open", {names[0]: "first"}, {}, is_open=True),
        Section("Folded", dict.fromkeys(names[1:], ""), {}),
    ]
    write_report(ReportPage("", "", [], sections), tmp_path)
    sources = Read((tmp_path / REPORT).read_text("utf-8")).every("img", "src")
    sizes = [
        Image.open(BytesIO(base64.b64decode(source.partition(",")[2]))).size for source in sources
    ]
    assert sizes == [(1120, 840), (800, 600)]


def test_animation(tmp_path):
    """An animation moves in the page too, each frame as long as in its file."""
    greys = [Image.new("L", (40, 30), 20 * number) for number in range(3)]
    greys[0].save(
        tmp_path / "a.gif", save_all=True, append_images=greys[1:], duration=[200, 300, 900]
    )
    write_report(ReportPage("", "", [], [Section("", {"a.gif": ""}, {})]), tmp_path)
    (source,) = Read((tmp_path / REPORT).read_text("utf-8")).every("img", "src")
    with Image.open(BytesIO(base64.b64decode(source.partition(",")[2]))) as moving:
        durations = []
        for number in range(moving.n_frames):
            moving.seek(number)
            moving.load()
            durations.append(moving.info["duration"])
    assert durations == [200, 300, 900]


def test_no_table(tmp_path):
    """A sentence whose table is nowhere on the page is a mistake, not a dead link."""
    lost = ReportPage("", "", [Sentence("So.", "tables/gone.csv")], [])
    with pytest.raises(ValueError, match=r"tables/gone\.csv"):
        write_report(lost, tmp_path)


def test_plain():
    """A terminal shows the same paragraph."""
    assert plain(page().paragraph) == "The word square gets 2.4×, as is seen. No more."


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0"), (2.4444, "2.44"), (12345.6, "12346"), (-0.00001234, "-1.23e-05"), (16.0, "16")],
)
def test_digits(number, text):
    """What is read has three digits, and large numbers no exponent."""
    assert digits(number) == text
