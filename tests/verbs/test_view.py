"""`attn.view`."""

import urllib.error
import urllib.request

import pytest

import attn
from tests.helpers.toy_traces import make_trace, manifest, write_trace


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
    assert shown["text/plain"].startswith("BrowserView(paths=(")
    still, _, live = shown["text/html"].partition("<iframe ")
    assert still.count('<img src="data:image/jpeg;base64,') == 2
    assert len(still) < 200_000
    assert "A cat, a bobcat – right: attention to “bobcat”" in still
    assert 'sandbox="allow-scripts allow-downloads"' in live
    assert "<script" not in live


def test_traces_show_themselves(tmp_path):
    """A trace shows the same in a notebook, also one in memory; as text it is what it was."""
    trace = make_trace()
    shown = trace._repr_mimebundle_()
    assert shown["text/plain"] == repr(trace)
    assert "<iframe" in shown["text/html"]
