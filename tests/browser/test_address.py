"""The address: what it asks for and is not here is said, on every screen."""

import pytest

from tests.browser.conftest import served
from tests.helpers.browsing.pages import eventually
from tests.helpers.toy_texts import make_text
from tests.helpers.toy_traces import JOINT, manifest, write_trace

SAID = "The address asks for what is not here: "
CASES = {
    "t=99": "trace 99",
    "t=0,99": "trace 99",
    "t=index&status=odd&sort=odd": "status odd; order odd",
    "t=0&steps=99&layers=2,77&heads=41": "step 99; layer 77; head 41",
    "t=0&branch=odd&sample=7&tower=odd": "guidance row odd; network odd; image 7",
    "t=0&pins=clip.w1+clip.w99&place=5,9,6,99": "place 5,9,6,99; word clip.w99",
    "t=0&alpha=3&threshold=x&sort=odd&sketch=yes": "alpha 3; order odd; sketch yes; threshold x",
    "t=1&at=999,0&view=0,0,99,99&side=odd": "side odd; token 999,0; view 0,0,99,99",
    "t=1&bright=7&pool=odd&scale=odd&steps=7-9": "bright 7; pool odd; scale odd; step 7-9",
    "t=0,2&pins=clip.dog.1&spot=1.5,0": "place 1.5,0; word clip.dog.1",
}
"""Addresses, and what of them is not here."""


@pytest.fixture(scope="module")
def page(chromium, tmp_path_factory):
    """A page of a picture, a text, and the picture again."""
    root = tmp_path_factory.mktemp("address")
    about = manifest(JOINT, branches=("cond", "uncond"), level="heads")
    folders = (
        write_trace(root / "a", about),
        make_text()[0].save(root / "b").folder,
        write_trace(root / "c", about),
    )
    with served(chromium, *folders) as page:
        yield page


def said(page):
    """Return what the page says of its address, in an order of its own."""
    text = page.inner_text("#strays")
    return sorted(text.removeprefix(SAID).removesuffix(".").split("; "))


@pytest.mark.parametrize("address", CASES)
def test_what_is_not_here_is_said(page, address):
    """Each part of an address that leads nowhere is named; what does lead somewhere is not."""
    page.evaluate("hash => { location.hash = hash; }", address)
    eventually(lambda: said(page), sorted(CASES[address].split("; ")))


def test_what_is_here_is_not_said(page):
    """Of an address that leads somewhere nothing is said."""
    page.evaluate("location.hash = 't=99'")
    page.wait_for_selector("#strays p")
    address = "t=0&steps=1&layers=2&heads=1&branch=uncond&pins=clip.w1&place=1,1,2,3&alpha=0.5"
    page.evaluate("hash => { location.hash = hash; }", address)
    page.wait_for_selector(".chip >> nth=1")
    page.wait_for_selector("#picture-figure .scale canvas")
    eventually(lambda: page.inner_text("#strays"), "")
