"""Screen A: what is shown is what the trace holds, by pointer and by keys."""

import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from attn.files.disk import write_atomic
from attn.schema import SCHEMA, find_words
from attn.trace.trace import open_trace
from attn.trace.writer import TraceWriter
from tests.helpers.browsing.axe import violations
from tests.helpers.browsing.hovering import hover_times
from tests.helpers.browsing.large_traces import write_large
from tests.helpers.browsing.pages import (
    HOSTILE,
    eventually,
    kept_back,
    percent,
    point,
    require_fast,
    saved,
)
from tests.helpers.editing import unsealed
from tests.helpers.toy_traces import JOINT, VIDEO, manifest, tensors, write_trace

GRID = (6, 10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trace of joint layers with two guidance rows and two pictures."""
    about = manifest(JOINT, branches=("cond", "uncond"))
    return write_trace(tmp_path_factory.mktemp("picture") / "t", about)


ROWS = """rows => rows.map(row => [row.querySelector(".word").innerText,
  row.querySelector(".tag")?.innerText, ...[...row.cells].slice(2).map(cell => cell.innerText)])"""


def shown(page):
    """Return the ranked words: {(word, segment): [attention, share, lift]}, as they are written."""
    rows = page.eval_on_selector_all(".words tbody tr", ROWS)
    return {(word, segment): values for word, segment, *values in rows}


def ready(page):
    """Wait until the maps are there."""
    page.wait_for_selector("#picture-figure .scale canvas")


def expected(trace, row, column, **chosen):
    """Return {(word, segment): amount} of a cell, by `Trace.word_maps`."""
    maps = trace.word_maps(**chosen).isel(sample=0, row=row, column=column)
    return {
        (str(word), str(segment)): percent(float(maps.sel(segment=segment).values[at]))
        for at, word in enumerate(maps["word"].values)
        for segment in maps["segment"].values
        if np.isfinite(maps.sel(segment=segment).values[at])
    }


def test_words_at_a_place(look, folder):
    """Pointing at a place lists every word with what `Trace.word_maps` has there."""
    page = look(folder)
    ready(page)
    point(page, "#stage", 4, 7, GRID)
    page.wait_for_selector("h2:has-text('At row 4, column 7 of 6 × 10')")
    words = {name: values[0] for name, values in shown(page).items() if name[0] != ","}
    assert words == expected(open_trace(folder), 4, 7)


def test_share_and_lift(look, folder):
    """Share is of what the place gives to text, lift is against the mean of the picture."""
    page = look(folder)
    ready(page)
    point(page, "#stage", 1, 2, GRID)
    page.wait_for_selector("h2:has-text('row 1, column 2')")
    maps = open_trace(folder).mean_maps()[..., :].astype(np.float64)
    at, keys = maps.values[1, 2], maps["token"].values
    key = list(keys).index("cat")
    _, share, lift = shown(page)["cat", "clip"]
    assert share == percent(at[key] / at.sum())
    assert lift == f"{at[key] / maps.values[..., key].mean():.2f} ×"


def test_address_holds_the_view(look, folder):
    """A link brings back word, place, step, layer and guidance row."""
    at = "branch=uncond&place=2,3,3,4&steps=1&layers=2&pins=clip.w1"
    page = look(folder, at=at)
    ready(page)
    page.wait_for_selector("h2:has-text('At row 2, column 3')")
    words = {name: values[0] for name, values in shown(page).items() if name[1] == "clip"}
    trace = open_trace(folder)
    same = expected(trace, 2, 3, branch="uncond", steps=[1], layers=[2])
    assert {name: words[name] for name in same if name[1] == "clip"} == {
        name: value for name, value in same.items() if name[1] == "clip"
    }
    assert page.inner_text(".chip >> nth=1").startswith("cat")
    assert page.inner_text("output") == "step 1"


def test_a_whole_segment(look, folder):
    """Of two texts each can be looked at as one: its map, and its part of what a place gives."""
    page = look(folder, at="place=2,3,3,4&pins=t5.all")
    ready(page)
    maps = open_trace(folder).mean_maps()
    sums = {
        name: maps.values[..., maps["segment"].values == name].sum(-1, dtype=np.float64)
        for name in ("clip", "t5")
    }
    page.wait_for_selector(
        f"#picture-figure .scale:has-text('{percent(sums['t5'].max())}'):has-text('all of t5')"
    )
    part = sums["t5"][2, 3] / (sums["t5"][2, 3] + sums["clip"][2, 3])
    page.wait_for_selector(f".balance-part:has-text('t5 {percent(part)}')")
    page.wait_for_selector(".cells-box select")
    assert page.input_value(".cells-box select") == "t5"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A trace of a video of 17 frames, five of its latents."""
    about = manifest(VIDEO, samples=1)
    about = replace(about, request=replace(about.request, frames=17, fps=8))
    return write_trace(tmp_path_factory.mktemp("video") / "t", about)


SHADE = """() => {
  const image = document.querySelector("#stage img");
  if (!image.complete || !image.naturalWidth) return null;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.getContext("2d").getImageData(3, 3, 1, 1).data[0];
}"""
"""Returns how bright the picture below the map is; nothing while it comes."""


def test_frames_of_a_video(look, video):
    """A slider chooses a frame: its words, its place in the address, its own picture below."""
    page = look(video)
    ready(page)
    assert page.inner_text("#video-frames output") == "mean of all 5 frames"
    page.locator("#frame").evaluate(
        "one => { one.value = 3; one.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    eventually(lambda: page.inner_text("#video-frames output"), "frame 3: 9–12 of the video")
    assert "frame=3" in page.evaluate("location.hash")
    eventually(lambda: page.evaluate(SHADE), 110)  # the frame in the middle is the eleventh
    point(page, "#stage", 1, 4, (4, 6))
    page.wait_for_selector("h2:has-text('At row 1, column 4 of 4 × 6')")
    same = expected(open_trace(video), 1, 4, frame=3)
    amounts = {word: amount for (word, _), amount in same.items()}
    eventually(lambda: {word: shown(page)[word, None][0] for word in amounts}, amounts)
    page.click("#video-frames button:has-text('all frames')")
    eventually(lambda: page.inner_text("#video-frames output"), "mean of all 5 frames")


def test_layers_and_heads(look, folder):
    """The numbers beside the layers are the masses of the word, mean over heads and steps."""
    page = look(folder, at="pins=clip.w1")
    page.wait_for_function("() => document.querySelector('svg polyline')?.points.length === 3")
    trace = open_trace(folder)
    own = [float(trace.mass(layer)[:, 0, 0, :, 2].mean()) for layer in (0, 2)]
    amounts = page.eval_on_selector_all(".amount", "cells => cells.map(one => one.innerText)")
    assert amounts == [percent(value) for value in own]


def test_pinned_words(look, folder):
    """Several pinned words stand side by side, and can colour the picture."""
    page = look(folder)
    ready(page)
    page.click(".prompt .word >> nth=1")
    page.click(".prompt .word >> nth=3")
    eventually(page.locator(".thumbs .thumb").count, 2)
    page.click("text=colour by strongest")
    page.wait_for_selector(".swatch >> nth=1")
    page.click(".chip >> nth=0")
    page.wait_for_function("() => document.querySelectorAll('.chip').length === 1")


def test_files(look, folder):
    """Picture and numbers are saved; a word that is a formula stays a text."""
    page = look(folder, at="place=2,3,3,4&pins=clip.w1")
    ready(page)
    files = saved(page, ".looks .saving")
    lines = files["CSV"].decode().splitlines()
    assert lines[0] == "word,segment,place,attention,share,lift"
    (cat,) = [line.split(",") for line in lines if line.startswith("cat,clip")]
    maps = open_trace(folder).word_maps("cat").isel(sample=0)
    assert float(cat[-3]) == pytest.approx(float(maps.values[0, 0, 2, 3]), abs=1e-6)
    figure = files["SVG"].decode()
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", figure)
    assert " ".join(texts).startswith(
        "Attention to “cat (clip)” “A cat, a bobcat” · seed 7 · toy "
        "reads the prompt, image 1 of 2, mean of 2 layers, all heads, all steps "
    )
    assert {"0", percent(float(np.nanmax(maps.sel(segment="clip"))))} <= {*texts}
    assert PIN in figure and figure.count("<image ") == 3  # picture, map and scale


PIN = "rgb(86, 180, 233)"
PAPER = {"light": (255, 255, 255), "dark": (23, 23, 27)}


def test_paper_of_figures(look, folder):
    """A figure is saved on the paper on which it is seen."""
    page = look(folder)
    ready(page)
    for scheme, paper in PAPER.items():
        page.emulate_media(color_scheme=scheme)
        files = saved(page, ".looks .saving")
        assert Image.open(BytesIO(files["PNG"])).convert("RGB").getpixel((0, 0)) == paper
        assert f'fill="rgb{paper}"' in files["SVG"].decode()


def test_forced_colours(look, folder):
    """Cells that are as dark as the paper have a line around them, where colours are forced too."""
    page = look(folder)
    page.emulate_media(color_scheme="dark", forced_colors="active")
    page.wait_for_selector(".cell-row canvas")
    row = Image.open(BytesIO(page.locator(".cell-row canvas").first.screenshot())).convert("L")
    assert (
        min(row.crop((0, at, row.width, at + 1)).getextrema()[0] for at in (0, row.height - 1))
        > 200
    )


def test_accessible(look, folder):
    """Axe finds nothing, in light and dark, with all that can be opened open."""
    page = look(folder, at="pins=clip.w1+t5.w1&place=1,1,2,3")
    ready(page)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert violations(page) == []


def test_hostile_texts(visit, tmp_path):
    """Prompts, tokens, options, names and warnings are text, whatever is in them."""
    about = manifest(samples=1)
    tokens = [replace(token, text=HOSTILE) for token in about.tokens["cond"]]
    request = replace(about.request, prompt=f"{HOSTILE}\uffff", options={HOSTILE: HOSTILE})
    about = replace(
        about,
        backend=HOSTILE,
        tokens={"cond": tuple(tokens)},
        words=find_words(HOSTILE),
        request=request,
        warnings=(HOSTILE,),
        truncated={"cond": {"clip": HOSTILE[-9:]}},
    )
    page = visit(write_trace(tmp_path / HOSTILE.replace("/", "-"), about))
    ready(page)
    assert page.title().endswith("· attn")
    assert page.locator("img[src=x], script:not([src])").count() == 0
    assert "\u202e" not in page.content()
    assert "\\u202egnp.evil" in page.inner_text(".notices")
    figure = saved(page, ".looks .saving", ("PNG", "SVG"))["SVG"].decode()
    assert "onerror=" in figure and "<img" not in figure and "\u202e" not in figure


def test_partial(visit, tmp_path):
    """A trace that is not finished says how far it is, and shows what is there."""
    trace = write_trace(tmp_path / "t", manifest(samples=1), partial=True, done=2)
    page = visit(trace)
    ready(page)
    assert "Not finished: 2 of 3 steps are here." in page.inner_text(".notices")
    assert page.inner_text("output") == "mean of all 2 steps"


def test_growing(visit, tmp_path):
    """While a trace is captured, its steps come in, and then its end; the place stays."""
    about = manifest(JOINT, samples=1)
    files = list(tensors(about).values())
    with TraceWriter(tmp_path / "t", about) as writer:
        writer.put(about.steps[0], files[0])
        page = visit(tmp_path / "t", at="place=2,3,3,4")
        page.wait_for_selector("output:has-text('the only step')")
        for step in (1, 2):
            writer.put(about.steps[step], files[step])
            page.wait_for_selector(f"output:has-text('mean of all {step + 1} steps')")
        page.wait_for_selector(".notices:has-text('Not finished: 3 of 3 steps are here.')")
        writer.finish(about)
    page.wait_for_function("() => !document.body.innerText.includes('Not finished')")
    page.wait_for_function("() => document.querySelector('.status').innerText === ''")
    values = {name: amounts[0] for name, amounts in shown(page).items() if name[0] != ","}
    assert values == expected(open_trace(tmp_path / "t"), 2, 3)
    page.wait_for_function("() => document.querySelector('svg polyline')?.points.length === 3")


def test_damaged(visit, tmp_path):
    """A shard that is not as it was written is named."""
    trace = write_trace(tmp_path / "t", manifest(samples=1))
    shard = trace / "attention/step-0001.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    page = visit(trace)
    page.wait_for_selector(".notices:has-text('step-0001.safetensors has SHA-256')")


@pytest.mark.parametrize(
    ("name", "selector"),
    [
        ("checked", ".notices li:has-text('what was there last: the server does not answer')"),
        ("outputs/*", ".unread:has-text('cannot be read')"),
        ("static/sums/*", "[role=alert]:has-text('broke off')"),
        ("trace.json", ".notices li:has-text('what was there last: trace.json cannot be read')"),
    ],
)
def test_what_is_not_answered(name, selector, visit, tmp_path):
    """Whatever the page asks for and does not get is said, and stays beside what was there."""
    trace = write_trace(tmp_path / "t", manifest(samples=1), partial=name == "trace.json", done=2)
    page = visit(trace)
    page.wait_for_selector("#stage")
    page.route(f"**/{name}", lambda route: route.abort())
    if name != "trace.json":
        page.reload()
    page.wait_for_selector(selector)
    assert page.locator(".words li, .words tr").count()


@pytest.mark.parametrize("length", [None, 0], ids=["whole", "begun"])
def test_rewritten(visit, tmp_path, length):
    """A trace that is written again while it is looked at says so instead of mixing the two."""
    trace = write_trace(tmp_path / "t", manifest(samples=1))
    page = visit(trace)
    ready(page)
    for shard in trace.glob("attention/*.safetensors"):
        (tmp_path / "new").write_bytes(shard.read_bytes()[:length])
        (tmp_path / "new").replace(shard)
    page.keyboard.press("]")
    page.wait_for_selector(".error:has-text('was written again')")
    page.wait_for_selector("#screen[data-mark=unread]")
    assert "files checked" not in page.inner_text(".about")


@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "again"])
def test_lost(visit, tmp_path, is_gone):
    """What is shown of a trace that is gone, or was written again as a whole, is marked as old."""
    trace = write_trace(tmp_path / "t", manifest(samples=1))
    page = visit(trace, hurry=True)
    page.wait_for_selector("summary:has-text('4 of 4 files checked')")
    if is_gone:
        trace.rename(tmp_path / "other")
    else:
        write_atomic(trace / "trace.json", (trace / "trace.json").read_bytes())
    said = "is not there any more" if is_gone else "was written again while it was open"
    page.wait_for_selector(f".notices:has-text('This is what was there last'):has-text('{said}')")
    assert "files checked" not in page.inner_text(".about")
    page.wait_for_selector("#screen[data-mark=lost]")


def test_newer(visit, tmp_path):
    """A trace of a newer version is said to be one."""
    trace = write_trace(tmp_path / "t", manifest(samples=1))
    page = visit(trace)
    text = (trace / "trace.json").read_text().replace('"schema": 1', '"schema": 7')
    write_atomic(trace / "trace.json", unsealed(text).encode())
    page.reload()
    page.wait_for_selector(f".error:has-text('reads up to schema {SCHEMA}: update attn')")


def test_without_maps(visit, tmp_path):
    """Where only masses were kept, words are ranked by them, and the page says why no map is."""
    trace = write_trace(tmp_path / "t", manifest(samples=1, level="mass"))
    page = visit(trace)
    page.wait_for_selector(".cell-row canvas")
    assert "No maps were kept" in page.inner_text(".notices")
    assert page.inner_text(".status") == ""
    masses = np.mean([float(open_trace(trace).mass(at)[:, 0, 0, :, 2].mean()) for at in (1, 3)])
    page.wait_for_function(f"() => document.body.innerText.includes('{percent(masses)}')")


def hold(route, held):
    """Let pass what is small, and keep what reads all layers until a test lets it go."""
    low, high = re.findall(r"\d+", route.request.headers["range"])
    held.append(route) if int(high) - int(low) > 5e6 else route.continue_()


def test_few_layers_first(visit, tmp_path):
    """Of a mean that takes long to read some layers are shown at once, which is said; then all."""
    page = visit(write_large(tmp_path / "t", layers=14))
    page.wait_for_function("() => document.querySelector('.status')?.innerText === ''")
    whole, held = page.inner_text(".words tbody"), []
    page.context.route("**/mean.safetensors", lambda route: hold(route, held))
    page.reload()
    page.wait_for_selector(".status:has-text('Only 5 of 14 layers are shown. Reading all')")
    ready(page)
    assert page.inner_text(".words tbody") != whole
    kept_back(page, held).continue_()
    page.wait_for_function("() => document.querySelector('.status').innerText === ''")
    assert page.inner_text(".words tbody") == whole


def test_hover_is_fast(visit, tmp_path):
    """At 4,096 places and 116 columns the words follow within 150 ms."""
    page = visit(write_large(tmp_path / "t"))
    ready(page)
    require_fast(lambda: np.median(hover_times(page, moves=20)), 150)
