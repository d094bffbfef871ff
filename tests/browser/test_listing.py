"""Screen D: everything that was opened, found, filtered, sorted and opened."""

import json
from dataclasses import replace

import pytest

from attn.files.disk import write_atomic
from attn.schema import find_words
from attn.verbs.ablate.cuts import parse_cuts
from attn.verbs.capture.collection import Entry, write_index
from tests.helpers.browsing.axe import violations
from tests.helpers.browsing.pages import (
    HOSTILE,
    SETTLED,
    eventually,
    kept_back,
    require_seen_within,
)
from tests.helpers.toy_traces import manifest, write_collection, write_trace


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A collection of three seeds with one that failed, and a trace that is not finished."""
    root = tmp_path_factory.mktemp("runs")
    write_collection(root / "many", [7, 3, 5])
    failed = Entry("0003", "failed", HOSTILE, 9, "out of memory")
    entries = [
        Entry(f"{at:04d}", "complete", "A cat, a bobcat", seed) for at, seed in enumerate([7, 3, 5])
    ]
    write_index(root / "many", [*entries, failed])
    about = manifest(samples=1)
    cuts = parse_cuts(["dog@steps=0-1"])
    request = replace(about.request, prompt="the dog and mice", seed=11, interventions=cuts)
    about = replace(about, backend="other", request=request, words=find_words("the dog and mice"))
    write_trace(root / "running", about, partial=True, done=2)
    return root


def cards(page):
    """Return what stands on the cards that are there."""
    return page.eval_on_selector_all(".card", "all => all.map(card => card.innerText)")


def seeds(page):
    """Return the seeds of the cards, in their order."""
    texts = [text.partition("seed ")[2].partition(" ")[0] for text in cards(page)]
    return [int(text) for text in texts if text]


def test_what_is_listed(visit, runs):
    """Every trace is there; one that failed says why, one that is not finished how far it is."""
    page = visit(runs)
    page.wait_for_selector(".card >> nth=4")
    texts = cards(page)
    assert page.inner_text("h1") == "5 traces"
    assert sum("out of memory" in text for text in texts) == 1
    assert sum("not finished: 2 of 3 steps" in text for text in texts) == 1
    cut = page.locator(".card:has-text('the dog') .card-cuts").inner_text()
    assert cut == "cut: mask dog@steps=0-1,branch=cond"
    assert page.locator("img[src=x]").count() == 0 and "\u202e" not in page.content()
    page.wait_for_function("() => [...document.images].every(one => one.naturalHeight === 40)")


def test_find_filter_and_sort(visit, runs):
    """Search, filters and order do what they say, and stay in the address."""
    page = visit(runs)
    page.select_option("label:has-text('sort by') select", "seed")
    page.wait_for_function("() => location.hash.includes('sort=seed')")
    eventually(lambda: seeds(page), [3, 5, 7, 11])
    page.select_option("label:has-text('cut') select", "cut: mask dog@steps=0-1,branch=cond")
    page.wait_for_function("() => document.querySelectorAll('.card').length === 1")
    page.select_option("label:has-text('backend') select", "other")
    page.wait_for_function("() => document.querySelectorAll('.card').length === 1")
    page.keyboard.press("Escape")
    page.locator("select >> nth=0").evaluate("one => one.blur()")
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.querySelectorAll('.card').length === 5")
    page.keyboard.press("/")
    page.keyboard.type("bobcat 0001")
    eventually(lambda: seeds(page), [3])
    page.reload()
    page.wait_for_selector("[role=status]:has-text('1 of 5 are shown')")


def test_open_and_back(visit, runs):
    """Enter on a card opens its trace; the browser's own Back comes to the list as it was."""
    page = visit(runs, at="sort=seed")
    page.focus(".card >> nth=0")
    page.keyboard.press("Enter")
    page.wait_for_selector("#stage")
    assert page.inner_text(".label").endswith("0001")
    page.go_back()
    eventually(lambda: seeds(page), [3, 5, 7, 11])


def test_back_before_a_trace_is_there(visit, runs):
    """What was left before it was read does not come over what was opened since."""
    page, held = visit(runs), []
    page.route("**/t/0/trace.json", lambda route: held.insert(0, route))
    page.click(".card >> nth=0")
    request = kept_back(page, held)
    page.go_back()
    page.wait_for_selector(".card")
    with page.expect_response("**/t/0/trace.json") as late:
        request.continue_()
    late.value.finished()
    page.evaluate(SETTLED)
    assert (page.title(), page.locator("#stage").count()) == ("attn", 0)


def test_list_is_followed(visit, tmp_path):
    """It is looked at again while a trace is not finished; what is damaged, or lost, is said."""
    write_collection(tmp_path / "runs", [3])
    damaged = tmp_path / "runs/0000/trace.json"
    damaged.write_bytes(damaged.read_bytes().replace(b"bob", b"bab", 1))
    about = manifest(samples=1)
    write_trace(tmp_path / "runs/new", about, partial=True, done=1)
    page = visit(tmp_path / "runs", hurry=True)
    page.wait_for_selector(".card-mark:has-text('1 of 3')")
    page.wait_for_selector(".card-error:has-text('was changed since it was written')")
    page.route("**/index.json", lambda route: route.abort())
    page.wait_for_selector("[role=alert]:has-text('the server does not answer')")
    assert page.locator(".card").count() == 2
    page.unroute("**/index.json")
    write_trace(tmp_path / "other", about)
    write_atomic(tmp_path / "runs/new/trace.json", (tmp_path / "other/trace.json").read_bytes())
    page.wait_for_function("() => !document.querySelector('.card-mark, [role=alert]')")


def test_shown_as_they_are_found(visit, runs):
    """What was found is there before the rest was looked for; an address into the rest waits."""
    page, held = visit(runs), []
    rows = [
        {"id": str(at), "label": f"t{at}", "prompt": f"cat {at}", "seed": at} for at in range(7)
    ]
    first = json.dumps({"items": rows[:5], "next": 5})
    rest = json.dumps({"items": rows[5:], "next": None, "failures": [], "beside": []})
    kind = "application/json"
    page.route("**/index.json", lambda route: route.fulfill(body=first, content_type=kind))
    page.route("**/index/5.json", lambda route: held.append(route))  # noqa: PLW0108 - marked
    page.reload()
    page.wait_for_selector("h1:has-text('5 traces so far')")
    page.wait_for_selector("[role=status]:has-text('Looking for more')")
    assert page.locator(".card").count() == 5
    kept_back(page, held).fulfill(body=rest, content_type=kind)
    held.clear()
    page.wait_for_function("() => document.querySelector('h1').innerText === '7 traces'")
    page.evaluate("location.hash = 't=6'")
    page.reload()
    kept_back(page, held)
    assert page.locator(".card, h1").count() == 0


def test_accessible(visit, runs):
    """Axe finds nothing, in light and dark."""
    page = visit(runs)
    page.wait_for_selector(".card >> nth=4")
    assert violations(page) == []


def test_ten_thousand(visit, runs):
    """A list of 10,000 is there within a second (3 here), and holds few cards at a time."""
    page = visit(runs)
    rows = [
        {"id": str(at), "label": f"{at}", "prompt": f"cat {at}", "seed": at} for at in range(10_000)
    ]
    body = json.dumps({"items": rows, "failures": []})
    page.route(
        "**/index.json", lambda route: route.fulfill(body=body, content_type="application/json")
    )
    require_seen_within(page, "h1:has-text('10000 traces')", 3000)
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.wait_for_selector(".card:has-text('cat 9999')")
    assert page.locator(".card").count() < 100
    times = page.evaluate(
        """async () => { const { selectRows } = await import("/static/listing.js");
          const rows = (await (await fetch("/index.json")).json()).items, times = [];
          for (let at = 0; at < 9; at++) { const began = performance.now();
            if (selectRows(rows, "cat 77", {}, "seed").length < 100) throw new Error();
            times.push(performance.now() - began); }
          return times; }"""
    )
    assert min(times) < 150
