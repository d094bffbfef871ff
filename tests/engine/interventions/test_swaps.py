"""Keys and values of a run with another prompt, in whole families."""

from dataclasses import replace

import numpy as np
import pytest

from attn.backends.testing.observe import same_outputs
from attn.errors import RequestError
from attn.schema import CutTarget, Intervention
from attn.verbs.ablate.treatments import make_treatment
from tests.engine.interventions.test_families import open_request, run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("demo_cache")]
TEXT = CutTarget(segments=("text",), branch="cond")


def swapped(name, target, source, act="swap"):
    """Return a session, a request, and what it gives plainly and with a swap."""
    session, request = open_request(name)
    cut = replace(request, interventions=(Intervention(target, act, source=source),))
    treatment = make_treatment(session, [cut])
    return session, request, run(session, cut, treatment)[0], treatment


def test_all_of_a_text():
    """A model that reads its text by cross-attention alone then draws the other picture."""
    session, request, output, treatment = swapped("sd15", TEXT, "a blue dog")
    other = session.complete(replace(request, prompt="a blue dog"))
    assert same_outputs(output, session.generate([other], None))
    assert treatment.describe()["layers"] > 0
    assert same_outputs(session.generate([request], None), session.generate([request], None))


@pytest.mark.parametrize("name", ["fake", "sdxl", "sd35", "mmada", "qwen-image"])
def test_same_prompt(name):
    """Keys of the same prompt change nothing: exactly where the kernel itself is used."""
    target = CutTarget(words=("red",), queries="all", branch="cond")
    session, request, output, treatment = swapped(name, target, open_request(name)[1].prompt)
    assert same_outputs(output, session.generate([request], None))
    assert "explicit_difference" not in treatment.describe()


def test_picture_alone_reads_them():
    """Only rows of the picture read the other keys, in the open: near the kernel for itself."""
    target = CutTarget(words=("red",), branch="cond")
    _, _, _, treatment = swapped("sd35", target, "a blue cat")
    assert 0 < treatment.describe()["explicit_difference"] <= 1e-5


def test_values_alone():
    """Attention stays what it was, to the first layer that read other values."""
    session, request = open_request("sd15")
    cut = replace(request, interventions=(Intervention(TEXT, "swap_values", source="a blue dog"),))
    plain, changed = (run(session, of, make_treatment(session, [of]))[1] for of in (request, cut))
    names = sorted(
        (of for of in plain if "headmap.all.all" in of), key=lambda of: int(of.split("/")[0])
    )
    same = [np.array_equal(plain[name], changed[name]) for name in names]
    assert same[:2] == [True, True]
    assert not all(same)


def test_two_swaps():
    """Two prompts at once would be one of them in silence."""
    session, request = open_request("fake")
    cuts = tuple(Intervention(TEXT, "swap", source=text) for text in ("a blue cat", "a dog"))
    with pytest.raises(RequestError, match="cut: one swap at a time"):
        make_treatment(session, [replace(request, interventions=cuts)])


def test_shorter_prompt():
    """A word that stands where the other prompt has none cannot be swapped."""
    session, request = open_request("mmada", prompt="what is the colour of a red cat")
    target = CutTarget(words=("cat",), branch="cond")
    cut = replace(request, interventions=(Intervention(target, "swap", source="red"),))
    with pytest.raises(
        RequestError, match=r"cut: 'red' has no position .* of 'prompt' to swap with"
    ):
        make_treatment(session, [cut])
