"""Screen B: texts, by pointer and by keys; what is shown is what the trace holds."""

import csv
import io
import json
from dataclasses import replace
from functools import partial
from hashlib import sha256

import numpy as np
import pytest

from attn.trace.trace import open_trace
from attn.trace.writer import TraceWriter
from tests.helpers.browsing.axe import violations
from tests.helpers.browsing.large_traces import write_long
from tests.helpers.browsing.pages import (
    HOSTILE,
    eventually,
    percent,
    point,
    points,
    require_fast,
    require_seen_within,
    saved,
)
from tests.helpers.toy_texts import LENGTH, PROMPT, make_growing, make_text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trace of a text that was written by unmasking."""
    return make_text()[0].save(tmp_path_factory.mktemp("texts") / "t").folder


def ready(page):
    """Wait until the matrix is there."""
    page.wait_for_selector("#matrix canvas")
    page.wait_for_selector(".cell-row canvas")


def mean_map(trace, steps=(0, 1, 2, 3)):
    """Return the mean matrix of the first sample over layers and steps."""
    maps = [trace.maps(layer, "all.all").values[list(steps), 0, 0] for layer in (1, 4)]
    return np.mean(maps, axis=(0, 1), dtype=np.float64)


def test_a_cell(look, folder):
    """Pointing at a cell says both tokens and exactly what Python has there; a click pins it."""
    page = look(folder)
    ready(page)
    point(page, "#matrix canvas", 7, 2, (LENGTH, LENGTH))
    value = percent(mean_map(open_trace(folder))[7, 2])
    page.wait_for_selector(f"#cell:text-is('“t7” (7) reads “t2” (2): {value}')")
    page.mouse.down()
    page.mouse.up()
    page.wait_for_selector(".chip:has-text('“t7” (7) → “t2” (2)')")
    assert "at=7%2C2" in page.url


PROFILE = """rows =>
  rows.map(row => [row.querySelector(".word").innerText, row.cells[2].innerText])"""


def test_who_reads_whom(look, folder):
    """The lists of a token are its row and its column, the most first."""
    page = look(folder, at="at=7,-1")
    ready(page)
    matrix = mean_map(open_trace(folder))
    for number, values in enumerate((matrix[7], matrix[:, 7])):
        rows = page.locator(".profile").nth(number).locator("tbody tr")
        order = np.argsort(-values, kind="stable")
        expected = [[f"t{at}", percent(values[at])] for at in order]
        eventually(partial(rows.evaluate_all, PROFILE), expected)
    page.wait_for_selector(".profile .tag:has-text('3 · sink in 2 of 2 layers')")


def test_a_step_of_writing(look, folder):
    """A step shows what the model read then: what is masked, and what it decides now."""
    page = look(folder, at="steps=1&sample=1")
    ready(page)
    trace = open_trace(folder)
    decided = trace.written("finalised").sel(step=1, sample=1).values[0]
    masked = trace.written("masked").sel(step=1, sample=1).values[0]
    expected = {"fresh": decided, "masked": masked & ~decided}
    for name, tokens in expected.items():
        classes = f"all => all.map(one => one.classList.contains('{name}'))"
        read = partial(page.eval_on_selector_all, ".token", classes)
        eventually(read, tokens.astype(bool).tolist())
    sure = trace.written("confidence").sel(step=1, sample=1).values[0, 6]
    said = f"Step 1 decides “[6]” at 6 ({percent(float(sure))}); 3 stay masked."
    page.wait_for_selector(f".unmasking p:text-is('{said}')")


def test_how_tokens_are_spelled(visit, tmp_path):
    """Texts of tokens come from the history, where the manifest has those of another sample."""
    trace = make_text()[0]
    about = trace.manifest
    history = {"texts": {str(30 + at): HOSTILE for at in range(PROMPT, LENGTH)}}
    with TraceWriter(tmp_path / "t", about) as writer:
        for shard in about.shards:
            writer.put(shard.step, tensors_of(trace, shard))
        (tmp_path / "t/outputs").mkdir()
        text = json.dumps(history).encode()
        (tmp_path / "t/outputs/history.json").write_bytes(text)
        outputs = {"outputs/history.json": sha256(text).hexdigest()}
        writer.finish(replace(about, outputs=tuple(outputs), identity={"outputs": outputs}))
    page = visit(tmp_path / "t", at="sample=1&at=7,2")
    ready(page)
    page.wait_for_selector(".token:has-text('onerror')")
    assert page.locator("img, script:not([src])").count() == 0
    assert page.title() == "t · attn" and "\u202e" not in page.content()
    assert "\\u202egnp.evil" in page.inner_text("#text")


def test_layers_and_heads_of_a_text(look, folder):
    """The numbers beside the layers are the token's masses, mean over heads and steps."""
    page = look(folder, at="at=3,-1")
    trace = open_trace(folder)
    means = [float(trace.mass(layer, "all.all")[:, 0, 0, :, 3].mean()) for layer in (1, 4)]
    eventually(page.locator(".amount").all_inner_texts, [percent(value) for value in means])


def test_files_of_a_text(look, folder):
    """Figures and numbers are saved as they are seen."""
    page = look(folder, at="at=7,-1")
    ready(page)
    files = saved(page, ".right .saving", ("PNG", "SVG", "CSV", "CSV of cells"))
    assert b">t7</text>" in files["SVG"]
    matrix = mean_map(open_trace(folder))
    rows = list(csv.DictReader(io.StringIO(files["CSV"].decode())))
    np.testing.assert_allclose([float(row["reads"]) for row in rows], matrix[7], atol=1e-6)
    np.testing.assert_allclose([float(row["received"]) for row in rows], matrix.mean(0), atol=1e-6)
    cells = list(csv.reader(io.StringIO(files["CSV of cells"].decode())))[1:]
    np.testing.assert_allclose(
        [[float(item) for item in row[2:]] for row in cells], matrix, atol=1e-6
    )


def test_text_is_accessible(look, folder):
    """Axe finds nothing, in light and dark, with all that can be opened open."""
    page = look(folder, at="at=7,2&steps=1&find=t1")
    ready(page)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert violations(page) == []


def test_texts_side_by_side(visit, folder, tmp_path):
    """Two texts have one cursor, by pointer and keys, and Python's numbers; nobody is shut out."""
    other = make_text(seed=5)[0].save(tmp_path / "other").folder
    page = visit(folder, other)
    page.wait_for_function("() => document.querySelector('.status').innerText === ''")
    for side in (0, 1):
        page.wait_for_selector(f"#matrix-{side} canvas")
    point(page, "#matrix-0 canvas", 7, 2, (LENGTH, LENGTH))
    maps = [mean_map(open_trace(path)) for path in (folder, other)]
    for side, matrix in enumerate(maps):
        said = f"“t7” (7) reads “t2” (2): {percent(matrix[7, 2])}"
        page.wait_for_selector(f"#matrix-{side}-cell:text-is('{said}')")
    order = np.argsort(-abs(maps[1][7] - maps[0][7]), kind="stable")
    expected = [
        [
            f"t{at} {at}",
            *(percent(matrix[7, at]) for matrix in maps),
            points(np.diff(maps, axis=0)[0, 7, at]),
        ]
        for at in order
    ]
    rows = page.locator(".side-words tbody tr").all_inner_texts
    eventually(lambda: [row.split("\t") for row in rows()], expected)
    difference = maps[1] - maps[0]
    said = f"“t7” reads “t2”: {percent(maps[0][7, 2])} → {percent(maps[1][7, 2])}, "
    page.wait_for_selector(f"#matrix-difference-cell:has-text('{said}')")
    page.focus("#text-1")
    for key in ("ArrowRight", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    page.wait_for_function("() => location.hash.includes('at=7%2C-1')")
    table = saved(page, "#text-difference .saving")["CSV"].decode()
    got = [float(row["difference"]) for row in csv.DictReader(io.StringIO(table))]
    np.testing.assert_allclose(got, difference.ravel(), atol=1e-6)
    ends = page.locator("#text-difference .ticks span").all_inner_texts()
    assert (ends[0][1:], ends[1]) == (ends[2][1:], "0")
    assert violations(page) == []


def test_growing_text(visit, tmp_path):
    """A growing text shows each row of the step that computed it, and alone if it is chosen."""
    page = visit(make_growing()[0].save(tmp_path / "t").folder, at="at=9,-1")
    ready(page)
    page.wait_for_selector("#cell:has-text('“t9” (9) reads')")
    page.evaluate("location.hash = 'at=9,-1&steps=2'")
    page.wait_for_selector("output:text-is('step 2')")
    page.wait_for_function("() => !document.querySelector('#cell').innerText.includes('%')")


def test_damaged_text(visit, tmp_path):
    """A shard that was cut short is named."""
    trace = make_text()[0].save(tmp_path / "t").folder
    shard = trace / "attention/step-0002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-700])
    page = visit(trace)
    page.wait_for_selector(".error:has-text('step-0002.safetensors')")


def test_partial_text(visit, tmp_path):
    """A text that is still written says how far it is; its steps come in, and then its end."""
    whole = make_text()[0]
    first, second, *others = whole.manifest.shards
    with TraceWriter(tmp_path / "t", whole.manifest) as writer:
        for shard in (first, second):
            writer.put(shard.step, tensors_of(whole, shard))
        page = visit(tmp_path / "t", at="at=7,2")
        page.wait_for_selector(".notices:has-text('Not finished: 2 of 4 steps are here.')")
        page.wait_for_selector(f"#cell:has-text('{percent(mean_map(whole, steps=(0, 1))[7, 2])}')")
        for shard in others:
            writer.put(shard.step, tensors_of(whole, shard))
        page.wait_for_selector("output:has-text('mean of all 4 steps')")
        page.wait_for_selector(f"#cell:has-text('{percent(mean_map(whole)[7, 2])}')")
        writer.finish(whole.manifest)
    page.wait_for_function("() => !document.querySelector('.notices')")


def test_partial_growing_text(visit, tmp_path):
    """Of a text that is written token by token, each step is read as far as it goes."""
    whole = make_growing()[0]
    first, second, *others = whole.manifest.shards
    told = whole.manifest.tokens["cond"]
    unknown = tuple(
        replace(token, text="?") if token.position > PROMPT else token for token in told
    )
    with TraceWriter(tmp_path / "t", replace(whole.manifest, tokens={"cond": unknown})) as writer:
        for shard in (first, second):
            writer.put(shard.step, tensors_of(whole, shard))
        page = visit(tmp_path / "t")
        page.wait_for_selector(".notices:has-text('Not finished: 2')")
        for shard in others:
            writer.put(shard.step, tensors_of(whole, shard))
        page.wait_for_selector(f"output:has-text('mean of all {len(others) + 2} steps')")
        writer.finish(whole.manifest)
    page.wait_for_function("() => !document.querySelector('.notices')")
    page.wait_for_selector(f".token:text-is('{told[-1].text}')")
    page.wait_for_load_state("networkidle")
    assert "smaller than the manifest says" not in page.inner_text("body")


def tensors_of(trace, shard):
    """Return all that a shard has."""
    source = trace._source
    return {name: source.read(shard.file, name) for name in source.tensors(shard.file)}


CELLS = """async () => {
  const canvas = document.querySelector("#matrix canvas"), times = [];
  const box = canvas.getBoundingClientRect();
  for (let at = 0; at < 20; at++) {
    const began = performance.now(), said = document.querySelector("#cell").innerText;
    const where = { clientX: box.left + 9 + 17 * at, clientY: box.top + 9 + 13 * at };
    canvas.dispatchEvent(new PointerEvent("pointermove", { ...where, bubbles: true }));
    while (document.querySelector("#cell").innerText === said && performance.now() - began < 1000)
      await new Promise((ok) => setTimeout(ok));
    times.push(performance.now() - began);
  }
  canvas.dispatchEvent(new PointerEvent("pointerleave"));
  return times;
}"""
"""Milliseconds from each move over a matrix to what is said of the cell."""


def test_a_text_of_thousands_of_tokens(visit, tmp_path):
    """A matrix of 4,429 tokens is there within 6 s (the bar is 2); a cell follows within 200 ms."""
    page = visit(write_long(tmp_path / "t", 4429))
    require_seen_within(page, "#matrix canvas", 6000)
    require_fast(lambda: np.quantile(page.evaluate(CELLS), 0.95), 200)
