"""Damaged and hostile manifests."""

import shutil

import pytest

import attn
from attn.errors import TraceError
from tests.helpers.editing import edit


@pytest.fixture(scope="module")
def good(opened, tmp_path_factory):
    """A real trace, which tests copy and damage."""
    folder = tmp_path_factory.mktemp("good") / "run"
    pipe = opened("sd35").pipe
    attn.capture("sd35", "a red cat", model=pipe, out=folder, steps=2, size=(96, 64))
    return folder


@pytest.fixture
def damaged(good, tmp_path):
    """Open a copy of the trace after one edit of its manifest."""

    def damage(change):
        folder = tmp_path / "run"
        shutil.copytree(good, folder)
        edit(folder / "trace.json", change)
        return attn.open(folder)

    return damage


def set_steps(manifest, **values):
    """Give the steps other numbers, and the shards that are of them."""
    for name, numbers in values.items():
        for step, number in zip(manifest["steps"], numbers, strict=True):
            step[name] = number
    for step, shard in zip(manifest["steps"], manifest["shards"], strict=False):
        shard["step"] = step


def add_step(manifest):
    """Let a complete trace have a step more."""
    shard = manifest["shards"][1]
    step = shard["step"] | {"index": 2}
    manifest["steps"].append(step)
    manifest["shards"].insert(2, shard | {"file": "attention/step-0002.safetensors", "step": step})
    for counts in (manifest["request"], manifest["identity"]):
        counts["steps"] = 3


EDITS = {
    "schema": lambda m: m.update(schema=0),
    "samples": lambda m: m.update(samples=0),
    "branches": lambda m: m.update(branches=[]),
    "has no segments": lambda m: m.update(segments={}),
    "cannot be called": lambda m: m["layers"][0]["keys"][1].update(name="../../x"),
    "two segments": lambda m: m["layers"][0]["keys"][1].update(name="image"),
    "is 24 to -5": lambda m: m["layers"][0]["keys"][1].update(stop=-5),
    "is 0 to 10000000000": lambda m: m["layers"][0]["keys"][0].update(stop=10**10),
    "grid 0x0": lambda m: m["layers"][0]["keys"][0].update(grid=[0, 0]),
    "needs an index": lambda m: m["layers"][0].update(keys=[]),
    "one index": lambda m: m["layers"].append(m["layers"][0]),
    "count upwards": lambda m: m["steps"].reverse(),
    "listed twice": lambda m: m["shards"].append(m["shards"][0]),
    "lies outside": lambda m: m["kept"]["columns"][0].update(position=-7),
    "'other', which does not exist": lambda m: m["kept"]["columns"][0].update(segment="other"),
    "layer 99 was kept, which does not exist": lambda m: m["kept"].update(layers=[99]),
    "no block can be called 'image'": lambda m: m["layers"][0].update(blocks=["image"]),
    "do not count upwards": lambda m: m["kept"]["columns"].insert(0, m["kept"]["columns"][1]),
    "noise 1e[+]308": lambda m: m["steps"][0].update(noise=1e308),
    "width 4611686018427387904": lambda m: m["request"].update(width=2**62),
    "seed": lambda m: m["request"].update(seed=-(10**30)),
    "other steps than its shards": lambda m: m["shards"].pop(0),
    "other steps than its shards are": lambda m: m["steps"][1].update(timestep=7.0),
    "lies in no segment": lambda m: m["tokens"]["cond"][0].update(position=10**6),
    "belongs to word 77, of 3": lambda m: m["tokens"]["cond"][1].update(word=77),
    "two tokens of 'cond' have one": lambda m: m["tokens"]["cond"].append(m["tokens"]["cond"][0]),
    "word 0 is not in its prompt: 'blue'": lambda m: m["words"][0].update(text="blue"),
    "word 1 is not in its prompt: 'red'": lambda m: m["request"].update(prompt="a blue cat"),
    "has 60000 words and": lambda m: m.update(words=m["words"] * 20_000),
    "has 40000 characters": lambda m: m["request"].update(prompt="." * 40_000),
    "word 1 is not in its prompt: 'red cat'": lambda m: m["words"][1].update(
        text="red cat", stop=m["words"].pop()["stop"]
    ),
    "leave out a part of its prompt: 'cat'": lambda m: m["words"].pop(),
    "padding of 'cond' has gaps": lambda m: m["tokens"]["cond"][1].update(padding=True),
    "two layers of a tower have one path": lambda m: m["layers"][1].update(
        path=m["layers"][0]["path"]
    ),
    "noise rises from .* in step 0": lambda m: set_steps(m, noise=[0.25, 0.5]),
    "timesteps reach 1e[+]308": lambda m: set_steps(m, timestep=[1e308, 0.0]),
    "timesteps go to and fro: 3, 1, 2": lambda m: (
        add_step(m),
        set_steps(m, timestep=[3.0, 1.0, 2.0]),
    ),
    "layer 0 has no block 'image.eyes'": lambda m: m["layers"][0].update(blocks=["image.eyes"]),
    "belongs to word 2, of which it has no": lambda m: m["tokens"]["cond"][1].update(word=2),
    "belongs to word None, its characters to word 1": lambda m: m["tokens"]["cond"][2].update(
        word=None
    ),
    "is characters 2 to 77 of a prompt of 9": lambda m: m["tokens"]["cond"][2].update(stop=77),
    "complete with 1 steps, expected 2": lambda m: (m["steps"].pop(), m["shards"].pop(1)),
    "positions, but 76 in layer 0": lambda m: m["layers"][0]["keys"][1].update(stop=100),
}


@pytest.mark.parametrize("said", EDITS)
def test_impossible_manifests_are_refused(damaged, said):
    """A manifest that no capture writes is refused with what is wrong, before anything uses it."""
    with pytest.raises(TraceError, match=rf"trace\.json makes no sense: .*{said}"):
        damaged(EDITS[said])


def test_tensors_that_do_not_fit_are_refused(damaged):
    """A manifest that is not this trace's is refused when its tensors are looked at."""
    trace = damaged(lambda manifest: manifest.update(samples=5))
    with pytest.raises(TraceError, match=r"map\.image\.text has shape 1x1x24x8, expected 1x5"):
        trace.mass(layer=0)
