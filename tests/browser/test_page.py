"""The page in one file, opened from the disk: hostile text in it, and what it says of itself."""

from base64 import b64encode
from dataclasses import replace

import attn
from attn.explorer.joined import STATIC
from attn.explorer.notebook.widget import MODULE, answer
from attn.explorer.page import code_size, make_asking_page
from attn.schema import find_words
from attn.verbs.view import find_traces
from tests.browser.conftest import watched
from tests.helpers.browsing.axe import violations
from tests.helpers.browsing.pages import HOSTILE
from tests.helpers.toy_traces import cross_layer, manifest, write_trace


def test_hostile_text(chromium, tmp_path):
    """Text of a trace is text in the file too; nothing is asked for, and links stay inside."""
    about = manifest(samples=1)
    request = replace(about.request, prompt=HOSTILE)
    about = replace(about, request=request, words=find_words(HOSTILE))
    for name in ("a", "b"):
        write_trace(tmp_path / name, about)
    attn.view(tmp_path / "a", tmp_path / "b").save(tmp_path / "page.html")
    with watched(chromium, "", offline=True) as page:
        page.goto((tmp_path / "page.html").as_uri())
        page.click(".card >> nth=1")
        page.wait_for_selector("#picture-figure .scale canvas")
        assert page.title() == "b · attn"
        assert page.locator("img[src=x]").count() == 0
        assert "onerror" in page.inner_text(".prompt")
        assert "\u202e" not in page.inner_text("body")
        page.go_back()
        page.wait_for_selector(".card")


def test_reduced(chromium, tmp_path):
    """A page that holds less says so at its top, and where a map is asked for that it lacks."""
    layers = tuple(cross_layer(index, (40, 50), 2) for index in range(1, 5))
    trace = write_trace(tmp_path / "t", manifest(layers, samples=1, steps=5))
    left_out = attn.view(trace).save(tmp_path / "page.html", size=code_size() + 280_000)
    with watched(chromium, "", offline=True) as page:
        page.goto((tmp_path / "page.html").as_uri() + "#steps=1&layers=2")
        page.wait_for_selector("text=see above what it was reduced to")
        assert all(line.partition(": ")[2] in page.inner_text(".notices") for line in left_out)
        page.click("text=all layers >> nth=0")
        page.wait_for_selector("#picture-figure .scale canvas")
        assert violations(page) == []


NOTEBOOK = """async ([code, page]) => {
  const module = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  let take;
  const send = async (question) => {
    const [content, text] = await window.kernel(question);
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    take(content, [new DataView(bytes.buffer)]);
  };
  const model = { get: () => page, send, on: (_, given) => { take = given; }, off: () => {} };
  module.default.render({ model, el: document.body });
}"""


def test_widget(chromium, tmp_path):
    """In a notebook the page reads all of a trace by the kernel, from a frame without rights."""
    library = find_traces([write_trace(tmp_path / "t", manifest(samples=1))])

    def kernel(question):
        content, data = answer(library, question)
        return content, b64encode(data).decode()

    with watched(chromium, "", offline=True) as page:
        page.expose_function("kernel", kernel)
        page.evaluate(NOTEBOOK, [(STATIC / MODULE).read_text("utf-8"), make_asking_page(library)])
        frame = page.frame_locator("iframe")
        frame.locator("#picture-figure .scale canvas").wait_for()
        frame.locator("#stage").hover()
        frame.locator("h2:has-text('At row')").wait_for()
