"""Whatever the pointer does has a key: each act of the table in the docs, without a pointer."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import TimeoutError

import attn
from tests.helpers.toy_texts import make_text
from tests.helpers.toy_traces import JOINT, manifest, write_collection, write_trace

DOCS = Path(attn.__file__).parents[1] / "docs/view.md"
MOST_TABS = 200


@dataclass
class Act:
    """What the pointer can do, and how it is done by keys.

    Attributes:
        name: as in the table.
        to: what Tab goes to first; nothing stays where the focus is.
        keys: that are pressed there.
        seen: what is there afterwards, a selector or a function; `saved` is a file.
    """

    name: str
    to: str
    keys: str
    seen: str


def hash_has(text):
    return f"() => decodeURIComponent(location.hash).includes('{text}')"


LAYERS = [
    Act("point at a layer or head", ".cell-row .layer", "ArrowRight", "p:has-text('head 1')"),
    Act("click a layer", "", "Enter", ".cell-row.chosen"),
    Act("click a head", "", "h", hash_has("heads=1")),
]
FREE = "() => !document.querySelector('.chip, .pinned')"
FREED = Act("click the × of what is pinned", "", "Escape", FREE)
LISTED = Act("click *Keys*", "", "?", "dialog[open]")
CLOSED = Act("close that list", "", "Escape", "() => !document.querySelector('dialog[open]')")
WALKS = {
    "a picture": [
        Act(
            "point at a place", "#stage", "ArrowRight ArrowDown", "#say:has-text('row 4, column 5')"
        ),
        Act("drag for a region", "", "Shift+ArrowRight", "#say:has-text('column 5–6')"),
        Act("click a place", "", "Enter", ".chip:has-text('column 5–6')"),
        Act(
            "click *attention*, *share* or *lift*",
            "th button:text-is('lift')",
            "Enter",
            "th[aria-sort=descending] button:text-is('lift')",
        ),
        FREED,
        Act("point at a word", ".prompt .word", "", ".word.current:focus"),
        Act("click a word", "", "Enter", ".chip"),
        Act("move the slider of the steps", "", "]", "output:has-text('step 0')"),
        Act("click *all steps*", "", "m", "output:has-text('mean of all 3')"),
        *LAYERS,
        Act("move another slider", ".looks input[type=range]", "ArrowLeft", hash_has("alpha=0.7")),
        Act("tick a box", ".looks input[type=checkbox]", "Space", "#stage.cells"),
        Act(
            "choose guidance rows, pictures or networks",
            ".switches button[aria-pressed=false]",
            "Enter",
            hash_has("branch=uncond"),
        ),
        Act("open what is folded", ".frames summary", "Enter", ".frames[open] .thumb"),
        Act("click one of several small pictures", ".frames .thumb", "Enter", hash_has("steps=0")),
        Act("save a figure or numbers", ".looks .saving button:text-is('CSV')", "Enter", "saved"),
        LISTED,
        CLOSED,
        Act(
            "click into *Find*",
            "",
            "/ b o b",
            "() => [...document.querySelectorAll('.words tbody .word')].every("
            "one => one.innerText.includes('bob'))",
        ),
    ],
    "a text": [
        Act(
            "point at a token",
            "#text",
            "ArrowRight ArrowRight ArrowRight ArrowLeft",
            "#cell:has-text('“t1” (1) reads')",
        ),
        Act("click *who reads it*", "", "r", "#cell:has-text('is read by')"),
        Act("click a token", "", "Enter", ".chip:has-text('t1')"),
        FREED,
        Act("point at a cell", "#matrix", "ArrowRight ArrowRight", "#cell:has-text(' reads “')"),
        Act("drag a rectangle of the matrix", "", "+", hash_has("view=")),
        Act("click *whole*", "", "0", "() => !location.hash.includes('view=')"),
        Act("click a cell", "", "Enter", ".chip:has-text('→')"),
        Act("choose from a list", ".looks select", "ArrowDown", hash_has("scale=linear")),
        Act("click a token of the lists", ".profiles .word", "Enter", ".chip"),
        *LAYERS[:2],
        Act(
            "click a step of the writing",
            ".strip",
            "ArrowDown ArrowDown Enter",
            "output:has-text('step 1')",
        ),
        LISTED,
        CLOSED,
        Act("find a token", "", "/ t 1 0 Enter", ".chip:has-text('t10')"),
    ],
    "a comparison": [
        Act("click a word of the comparison", "", "]", hash_has("word=")),
        Act(
            "point at a place of a map",
            "#difference .panel-box",
            "ArrowRight ArrowRight ArrowUp",
            "#place:has-text('row 2, column 6')",
        ),
        Act("click a place of a map", "", "Enter", ".chip:has-text('row 2, column 6')"),
        FREED,
        Act(
            "point at a layer or head of the changes",
            "#cell-changes canvas >> nth=1",
            "ArrowRight",
            "p:has-text('head 1')",
        ),
        Act("point at a chart", "#step-changes", "ArrowRight", "p:has-text('step 0')"),
        Act(
            "choose a variant, mass or share",
            ".switches button[aria-pressed=false]",
            "Enter",
            hash_has("measure=share"),
        ),
        LISTED,
        CLOSED,
        Act("click a pair", ".pair", "Enter", "#sides .panel-box >> nth=2"),
    ],
    "side by side": [
        Act("click a word side by side", "", "]", hash_has("pins=")),
        Act(
            "point at a place side by side",
            "#sides .panel-box",
            "ArrowRight ArrowDown",
            "h2:has-text('At row 4')",
        ),
        Act("click a place side by side", "", "Enter", "#sides .cursor.pinned >> nth=2"),
        FREED,
        Act("click a word of the table", ".side-words .word", "Enter", hash_has("pins=")),
        LISTED,
        CLOSED,
    ],
    "texts side by side": [
        Act(
            "point at a token side by side",
            "#text-0",
            "ArrowRight ArrowRight",
            "#matrix-1-cell:has-text('“t1” (1) reads')",
        ),
        Act(
            "point at a cell side by side",
            "#matrix-0",
            "ArrowRight ArrowDown",
            "#matrix-1-cell:has-text('reads “t')",
        ),
        Act(
            "point at a cell of the difference",
            "#matrix-difference",
            "ArrowDown",
            "#matrix-difference-cell:has-text('points')",
        ),
        Act("click a cell side by side", "", "Enter", hash_has("at=")),
        Act("free a cell side by side", "", "Escape", "() => !location.hash.includes('at=')"),
    ],
    "the list": [
        Act(
            "narrow or sort the list",
            "label:has-text('sort by') select",
            "ArrowDown",
            hash_has("sort=newest"),
        ),
        Act("select a trace", ".pick input", "Space", hash_has("pick=")),
        Act(
            "select another trace",
            ".pick input >> nth=1",
            "Space",
            "() => decodeURIComponent(location.hash).match(/pick=[0-9]+,[0-9]+/)",
        ),
        Act("click *clear*", "", "Escape", "() => !location.hash.includes('pick')"),
        LISTED,
        CLOSED,
        Act("find a trace", "", "/ 0 0 0 1", hash_has("find=0001")),
        Act("click a trace", "a.card", "Enter", "#stage"),
        Act("click *All*", "#top a", "Enter", "h1:has-text('traces')"),
    ],
}
"""By screen, acts in the order in which they are done."""
READY = {
    "a picture": "#picture-figure .scale canvas",
    "a text": "#matrix canvas",
    "a comparison": "#difference canvas",
    "side by side": ".side-words td:nth-child(4):has-text('.')",
    "texts side by side": "#matrix-difference canvas",
    "the list": ".card",
}
"""What a screen shows when it can be used."""


def listed():
    """Return the acts of the table in the docs, by screen, with their keys."""
    text = DOCS.read_text("utf-8").partition("## Keys")[2]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", text, re.M)
    return {(screen, act): keys for screen, act, keys in rows[1:] if not screen.startswith("---")}


def test_table_has_every_act():
    """The table in the docs names these acts and no others, each with a key."""
    walked = {(screen, act.name) for screen, acts in WALKS.items() for act in acts}
    assert set(listed()) == walked
    assert all("`" in keys for keys in listed().values())


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """What each screen shows."""
    root = tmp_path_factory.mktemp("keys")
    branches = ("cond", "uncond")
    picture = write_trace(root / "t", manifest(JOINT, branches=branches, level="heads"))
    texts = [make_text(seed=seed)[0].save(root / f"text{seed}").folder for seed in (2, 5)]
    for seed, name in enumerate(("base", "style")):
        write_collection(root / "runs" / name, [7, 3, 5, 11, 2], seed=100 * seed)
    attn.compare(
        *(root / "runs" / name for name in ("base", "style")), out=root / "runs", pictures=False
    )
    pair = [root / "runs" / name / "0001" for name in ("base", "style")]
    return {
        "a picture": [picture],
        "a text": texts[:1],
        "a comparison": [root / "runs"],
        "side by side": pair,
        "texts side by side": texts,
        "the list": [root / "runs/base"],
    }


def reach(page, selector):
    """Press Tab until something has the focus."""
    wanted = page.locator(selector).first
    wanted.wait_for()
    for _ in range(MOST_TABS):
        if wanted.evaluate("one => one === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not reach {selector}")


@pytest.mark.parametrize("screen", WALKS)
def test_by_keys_alone(screen, visit, folders):
    """Every act of a screen can be done by keys alone."""
    address = "t=5" if screen == "a comparison" else ""
    page = visit(*folders[screen], at=address)
    page.wait_for_selector(READY[screen])
    for act in WALKS[screen]:
        if act.to:
            reach(page, act.to)
        if act.seen == "saved":
            with page.expect_download():
                page.keyboard.press(act.keys)
            continue
        for key in act.keys.split():
            page.keyboard.press(key)
        look = page.wait_for_function if act.seen.startswith("()") else page.wait_for_selector
        try:
            look(act.seen)
        except TimeoutError as error:
            raise AssertionError(f"{act.name}: {act.keys} does not show {act.seen}") from error
