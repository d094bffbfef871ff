"""What a generation leaves: the frames of how an image formed."""

import numpy as np
import pytest
from PIL import Image

from attn.analysis.images import read_forming
from attn.backends import Output
from attn.errors import PluginError
from attn.files.images import decode_image
from attn.trace.trace import open_trace
from attn.verbs.capture.outputs import save_outputs
from tests.helpers.toy_traces import manifest


def test_sheet_of_frames(tmp_path):
    """Frames stand in rows of ten, in their order, and a short row is filled with black."""
    greys = [18 * number + 10 for number in range(13)]
    frames = tuple(Image.new("L", (11, 7), grey) for grey in greys)
    names = save_outputs(tmp_path, Output(forming=(frames,)), manifest())
    assert list(names) == ["outputs/forming.jpg"]
    sheet = np.asarray(decode_image((tmp_path / "outputs/forming.jpg").read_bytes(), ("JPEG",)))
    centres = sheet[3::7, 5::11, 0].ravel()
    assert sheet.shape == (2 * 7, 10 * 11, 3)
    np.testing.assert_allclose(centres, [*greys, *[0] * 7], atol=4)


def test_frames_of_a_trace(run):
    """Each image has frames of its own, listed with its digest; the last one is the image."""
    folder = run(images=2, steps=3).path
    trace = open_trace(folder)
    names = ["outputs/forming-0.jpg", "outputs/forming-1.jpg"]
    assert set(names) <= set(trace.manifest.outputs) & set(trace.manifest.identity["outputs"])
    for sample in (0, 1):
        image = np.asarray(Image.open(trace.image(sample)), int)
        frames = read_forming(trace, sample)
        assert frames.shape == (3, 64, 96, 3)
        assert np.abs(frames[2] - image).mean() < 8
    assert read_forming(trace, 2) is None


def test_frames_of_different_sizes():
    """A backend's frames must fit each other."""
    from attn.backends.plugins.validation import check_outputs
    from attn.schema import Request

    frames = (Image.new("L", (11, 7)), Image.new("L", (7, 11)))
    output = Output((Image.new("L", (11, 7)),), forming=(frames,))
    with pytest.raises(PluginError, match=r"\[0\].forming\[0\]: got frames of the sizes \[\(7, 11"):
        check_outputs([output], [Request("a cat", images=1)])
