"""What samplers draw with a trained demo, as a judge of pictures sees it."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import numpy as np
from attn.backends import Placement, find, load
from attn.demo import scenes
from attn.demo import judge
from attn.schema import Request

CAPTION = "a red star right of a blue circle on a white background"
family = load(find("sdxl"))
session = family.open("demo", family.Options(), Placement("cpu"))
for name in ("default", "ddim", "Euler a", "DPM++ 2M Karras", "unipc"):
    request = session.complete(Request(CAPTION, seed=26, steps=12, scheduler=name))
    picture = np.asarray(session.generate([request], None)[0].images[0])
    seen = judge.agreement(scenes.read(CAPTION), judge.find(picture))
    print(name, seen.background, seen.number, *seen.colors, seen.relation, request.negative == "")
"""


def test_samplers_draw_the_scene(tmp_path_factory):
    """Samplers lent by name draw what the caption says, where clipped latents draw noise."""
    cache = tmp_path_factory.getbasetemp() / "trained"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"ATTN_CACHE": str(cache)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = ("default", "ddim", "Euler a", "DPM++ 2M Karras", "unipc")
    assert done.stdout.splitlines() == [f"{name} True True True True True True" for name in names]
