"""`attn.view`."""

import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64decode
from html import escape
from io import BytesIO

import pytest
from PIL import Image

import attn
from attn.explorer.notebook.widget import answer
from attn.verbs.capture.capture import Captured
from attn.verbs.compare.compared import Compared
from attn.verbs.view import find_traces
from tests.helpers.toy_texts import make_text
from tests.helpers.toy_traces import make_trace, manifest, write_collection, write_trace


def read(url):
    """Return what a browser gets that opens an address."""
    cookies = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with cookies.open(url) as page:
        page.read()
    with cookies.open(url.partition("?")[0] + "index.json") as index:
        return index.read()


def test_view(tmp_path):
    """Traces on disk and in memory stand on one page, which lives until it is closed."""
    folder = write_trace(tmp_path / "t", manifest(samples=1))
    shown = attn.view(folder, attn.open(folder), make_trace())
    url = shown.url
    assert [b'"label":"t"' in read(url), b'"label":"trace-2"' in read(url)] == [True, True]
    shown.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url)


def test_nothing(tmp_path):
    """A path without a trace is an error at once, not in the browser."""
    with pytest.raises(attn.AttnError, match="holds no trace"):
        attn.view(tmp_path)


def test_notebook(tmp_path):
    """A notebook gets the page in a frame that may do nothing outside, and a still picture."""
    folder = write_trace(tmp_path / "t", manifest(samples=1))
    shown = attn.view(folder)._repr_mimebundle_()
    assert shown["text/plain"].startswith("View(paths=(")
    still, _, live = shown["text/html"].partition("<iframe ")
    assert still.count('<img src="data:image/jpeg;base64,') == 2
    assert len(still) < 200_000
    assert "A cat, a bobcat – right: attention to “bobcat”" in still
    assert 'sandbox="allow-scripts allow-downloads"' in live
    assert "<script" not in live
    assert len(shown["text/html"]) < 2_000_000
    with Image.open(BytesIO(b64decode(shown["image/png"]))) as picture:
        assert (picture.format, picture.height) == ("PNG", 192)
    assert attn.view(folder)._repr_mimebundle_() == shown


def test_stills_of_texts_and_comparisons(tmp_path):
    """Also a text and a comparison have a still picture, with a sentence of what it shows."""
    text = make_text()[0].save(tmp_path / "text").folder
    for seed, name in enumerate("ab"):
        write_collection(tmp_path / name, [3], seed=seed)
    compared = attn.compare(tmp_path / "a", tmp_path / "b", out=tmp_path, only=["words"])
    said = {text: "who reads whom in layer 4: rows read", compared.path: compared.answer}
    for path, sentence in said.items():
        shown = attn.view(path)._repr_mimebundle_()
        still = shown["text/html"].partition("<iframe ")[0]
        assert still.count('<img src="data:image/jpeg;base64,') == 1
        assert escape(sentence) in still
        with Image.open(BytesIO(b64decode(shown["image/png"]))) as picture:
            assert min(picture.size) >= 192


def test_traces_show_themselves(tmp_path):
    """A trace shows the same in a notebook, also one in memory; as text it is what it was."""
    trace = make_trace()
    shown = trace._repr_mimebundle_()
    assert shown["text/plain"] == repr(trace)
    assert "<iframe" in shown["text/html"]


@pytest.mark.parametrize("kind", ["captured", "compared"])
def test_results_show_themselves(tmp_path, kind):
    """What a command made shows the page of its folder; a dry run, which made none, is text."""
    folder = write_trace(tmp_path / "t", manifest(samples=1))
    make = {
        "captured": lambda path: Captured(path, (), ()),
        "compared": lambda path: Compared(path, "a", {}, {}, (), ()),
    }[kind]
    result = make(folder)
    shown = result._repr_mimebundle_()
    assert (sorted(shown), shown["text/plain"]) == (
        ["image/png", "text/html", "text/plain"],
        repr(result),
    )
    assert list(make(tmp_path / "none")._repr_mimebundle_()) == ["text/plain"]


def test_notebook_needs_no_torch(tmp_path):
    """Looking at a trace in a notebook does not load what generates."""
    folder = write_trace(tmp_path / "t", manifest(samples=1))
    code = (
        "import attn, sys; attn.open(sys.argv[1])._repr_mimebundle_(); "
        "print({'torch', 'matplotlib'} & set(sys.modules))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=False
    )
    assert (ended.stdout, ended.stderr) == ("set()\n", "")


def test_widget_without_its_package(tmp_path, monkeypatch):
    """Without anywidget there is the command that installs it."""
    shown = attn.view(write_trace(tmp_path / "t", manifest(samples=1)))
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(attn.AttnError, match=r"pip install 'attn\[notebook\]'"):
        shown.widget()


def test_widget(tmp_path):
    """A widget holds the page without tensors, and sends what the page asks for."""
    folder = write_trace(tmp_path / "t", manifest(samples=1))
    widget = attn.view(folder).widget()
    sent = []
    widget.send = lambda content, buffers: sent.append((content, *buffers))
    shard = attn.open(folder).manifest.shards[0].file
    assert ('data-name="asks"' in widget.page, f"t/0/{shard}" in widget.page) == (True, False)
    question = {"id": "7", "name": f"t/0/{shard}", "start": 3, "stop": 14}
    widget._handle_custom_msg(question, [])
    assert sent == [({"id": "7"}, (folder / shard).read_bytes()[3:14])]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "t/0/../secret"},
        {"name": "t/1/trace.json"},
        {"name": "trace.json"},
        {"name": ""},
        {"name": "t/0/\0"},
        {"start": -1},
        {"stop": 2**40},
        {"stop": -1},
        {"start": "0"},
        {"id": None},
    ],
)
def test_widget_answers_nothing_else(tmp_path, change):
    """A hostile page reads no file that the manifest does not list, nor as much as it likes."""
    (tmp_path / "secret").write_text("secret")
    folder = write_trace(tmp_path / "t", manifest(samples=1))
    shard = attn.open(folder).manifest.shards[0].file
    question = {"id": "7", "name": f"t/0/{shard}", "start": 0, "stop": 5} | change
    content, data = answer(find_traces([folder]), question)
    assert ("error" in content, data) == (True, b"")
