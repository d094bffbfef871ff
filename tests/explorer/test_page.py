"""The page in one file: what stands in it, and what is left out of it."""

import gzip
import json
import re
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import attn
from attn.errors import TraceError, UsageError
from attn.explorer.joined import STATIC, join_script
from attn.explorer.reduction import MEAN, reduce
from attn.explorer.roots import PRECISION, SCALE, from_roots, to_roots
from attn.explorer.shelf import packed_size
from attn.schema import find_words
from attn.trace.trace import open_trace
from tests.helpers.toy_traces import CROSS, JOINT, VIDEO, cross_layer, manifest, write_trace


def embedded(path):
    """Return the files in a page by name: (kind, bytes)."""
    result = re.findall(
        r'<script type="text/plain" data-name="([^"]*)" data-kind="([^"]*)">([^<]*)<',
        path.read_text("utf-8"),
    )
    return {name: (kind, b"".join(map(b64decode, text.split()))) for name, kind, text in result}


def test_roots_keep_the_stated_error():
    """Every value comes back within the part of its key's largest that the page states."""
    maps = np.random.default_rng(5).gamma(0.2, size=(2, 3, 77, 13)).astype(np.float32)
    maps[..., 4] = 0
    maps[1, 2, 5, 7] = np.nan
    back = from_roots(*to_roots(maps))
    largest = maps.max(-2, keepdims=True)
    is_there = ~np.isnan(maps).any((-2, -1))
    assert is_there.sum() == 5
    assert np.isnan(back[~is_there]).all()
    off = np.abs(back - maps)[is_there] / np.where(largest > 0, largest, 1)[is_there]
    assert 0.8 * PRECISION < off.max() <= PRECISION * (1 + 1e-4)
    assert PRECISION < 0.004


WHOLE = {
    "Amounts by layer and head",
    "Maps of all layers together, step by step",
    "Maps of single layers, mean over steps",
    "Maps of single layers, step by step",
    "Maps of single heads",
    "Maps",
}


@pytest.mark.parametrize("budget", [900_000, 300_000, 120_000, 60_000, 20_000])
def test_reduction_keeps_its_budget(budget, tmp_path):
    """Less room means less detail, in the order that is documented; all of it is said."""
    layers = tuple(cross_layer(index, (20, 30), 3) for index in range(1, 6))
    folder = write_trace(tmp_path / "t", manifest(layers, level="heads", samples=1, steps=7))
    reduced = reduce(folder, budget)
    assert sum(map(packed_size, reduced.files.values())) <= budget
    said = [sentence.partition(":")[0] for sentence in reduced.facts["left_out"]]
    assert set(said) <= WHOLE
    assert len(said) == len(set(said))
    assert "mean-0/map.image.text" in reduced.files[MEAN]
    has_heads = any("headmap" in name for file in reduced.files.values() for name in file)
    assert reduced.facts["manifest"]["kept"]["level"] == ("heads" if has_heads else "maps")
    assert ("Maps of single heads" in said) == (budget < 900_000)


def test_halved_maps_are_means(tmp_path):
    """Where the means do not fit, cells are put together, and what the whole reads stays."""
    folder = write_trace(tmp_path / "t", manifest((cross_layer(1, (40, 60), 2),), samples=1))
    reduced = reduce(folder, 40_000)
    (mean,) = reduced.facts["means"]
    assert mean["grid"] == reduced.facts["layers"][0]["grid"] == (20, 30)
    roots, scale = (reduced.files[MEAN]["mean-0/map.image.text" + end] for end in ("", SCALE))
    expected = open_trace(folder).maps(1, "image.text").mean(("step", "row", "column")).values
    np.testing.assert_allclose(from_roots(roots, scale).mean(2), expected, rtol=0.02)
    assert "Maps: coarser than captured, 20 × 30 cells at most." in reduced.facts["left_out"]


def test_mean_counts_what_ran(tmp_path):
    """The mean over layers and steps is that of `Trace.word_maps`: what ran counts once."""
    folder = write_trace(tmp_path / "t", manifest(CROSS))
    tensors = reduce(folder, 1e6).files[MEAN]
    back = from_roots(tensors["mean-0/map.image.text"], tensors["mean-0/map.image.text" + SCALE])
    expected = open_trace(folder).word_maps().sel(segment="clip").isel(word=2).values
    np.testing.assert_allclose(back[0, :, :, 3].reshape(2, 6, 10), expected, atol=0.004)


@pytest.mark.parametrize("level", ["maps", "heads", "means"])
def test_videos_are_means(level, tmp_path):
    """A page has the mean over the frames of a video, without the video, and says so."""
    about = manifest(VIDEO, level=level, samples=1)
    about = replace(about, request=replace(about.request, frames=17))
    folder = write_trace(tmp_path / "t", about)
    left_out = attn.view(folder).save(tmp_path / "page.html")
    assert left_out == ["t: Frames of the video: the mean over them, beside one of them."]
    files = embedded(tmp_path / "page.html")
    assert not any("video" in name for name in files)
    facts = json.loads(gzip.decompress(files["t/0/trace.json"][1]))
    assert (facts["video"], {layer["frames"] for layer in facts["layers"]}) == (None, {0})
    reduced = reduce(folder, 1e6)
    tensors = reduced.files[MEAN]
    back = from_roots(tensors["mean-0/map.image.text"], tensors["mean-0/map.image.text" + SCALE])
    expected = open_trace(folder).word_maps().sel(segment="clip").isel(word=2).values
    np.testing.assert_allclose(back[0, :, :, 3].reshape(1, 4, 6), expected, atol=0.004)


def test_everything_of_a_small_trace(tmp_path):
    """A page holds index, facts, pictures and shards, each as a server would give it."""
    folder = write_trace(tmp_path / "t", manifest(JOINT, samples=1))
    assert attn.view(folder).save(tmp_path / "page.html") == []
    files = embedded(tmp_path / "page.html")
    steps = [f"t/0/attention/step-{step:04d}.safetensors" for step in range(3)]
    pictures = ["t/0/outputs/image-0.png", "t/0/thumb"]
    assert set(files) == {"index.json", "t/0/trace.json", f"t/0/{MEAN}", *steps, *pictures}
    assert files[pictures[0]] == ("image/png", (folder / "outputs/image-0.png").read_bytes())
    facts = json.loads(gzip.decompress(files["t/0/trace.json"][1]))
    sizes = {shard["file"]: shard["bytes"] for shard in facts["manifest"]["shards"]}
    assert sizes == {
        name[4:]: len(gzip.decompress(files[name][1])) for name in (*steps, f"t/0/{MEAN}")
    }


def test_same_page_again(tmp_path):
    """The same traces make the same file, byte by byte; a page of ours is replaced."""
    shown = attn.view(write_trace(tmp_path / "t", manifest(samples=1)))
    shown.save(tmp_path / "page.html")
    first = (tmp_path / "page.html").read_bytes()
    shown.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes() == first


def test_what_a_killed_run_left_is_swept(tmp_path):
    """A page that was being written when its run was killed goes with the next one."""
    shown = attn.view(write_trace(tmp_path / "t", manifest(samples=1)))
    for name in ("page.html.77.part", "page.html.old.part"):
        (tmp_path / name).write_text("torn")
    shown.save(tmp_path / "page.html")
    assert {path.name for path in tmp_path.glob("*.part")} == {"page.html.old.part"}


def test_other_files_stay(tmp_path):
    """What is no page of ours is not replaced."""
    (tmp_path / "page.html").write_text("<!doctype html><title>mine</title>")
    shown = attn.view(write_trace(tmp_path / "t", manifest(samples=1)))
    with pytest.raises(UsageError, match=r"page.html is no page of attn view: name another file"):
        shown.save(tmp_path / "page.html")
    assert "mine" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("50KB", r"--size 50\.0 kB is too small for a page of 1 trace: it takes at least 0\.\dMB"),
        ("much", "size: expected a size such as 8GB or 500MB; got 'much'"),
    ],
)
def test_sizes(size, said, tmp_path):
    """A size that holds nothing, or is none, is an error before anything is written."""
    shown = attn.view(write_trace(tmp_path / "t", manifest(samples=1)))
    with pytest.raises(UsageError, match=said):
        shown.save(tmp_path / "page.html", size=size)
    assert not (tmp_path / "page.html").exists()


def test_large_pictures(tmp_path):
    """A picture above 2 MB stands in the page smaller, and that is said."""
    folder = write_trace(tmp_path / "t", manifest(samples=1), picture=(900, 1300))
    (left_out,) = attn.view(folder).save(tmp_path / "page.html")
    assert left_out == "t: outputs/image-0.png is smaller than it was made: 1024 pixels at most."
    kind, data = embedded(tmp_path / "page.html")["t/0/outputs/image-0.png"]
    (tmp_path / "small.webp").write_bytes(data)
    assert kind == "image/webp"
    with Image.open(tmp_path / "small.webp") as image:
        assert image.size == (1024, 709)


@pytest.mark.parametrize("damage", ["changed", "circle"])
def test_damaged_picture(damage, tmp_path):
    """A picture that is not as it was written is not in the page, and that is said."""
    folder = write_trace(tmp_path / "t", manifest(samples=1), picture=(40, 24))
    path = folder / "outputs/image-0.png"
    if damage == "changed":
        path.write_bytes(path.read_bytes() + b"x")
    else:
        path.unlink()
        path.symlink_to(path.name)
    left_out = attn.view(folder).save(tmp_path / "page.html")
    assert [text.partition(": ")[2][:36] for text in left_out] == [
        "outputs/image-0.png is not there: /tmp"[:36]
    ][: damage == "changed"]
    assert "t/0/outputs/image-0.png" not in embedded(tmp_path / "page.html")


def test_damaged_beside_whole(tmp_path):
    """One trace that is damaged is listed with what is wrong; alone it is an error."""
    whole = write_trace(tmp_path / "a", manifest(samples=1))
    damaged = write_trace(tmp_path / "b", manifest(samples=1))
    shard = damaged / "attention/step-0001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    attn.view(whole, damaged).save(tmp_path / "page.html")
    index = json.loads(gzip.decompress(embedded(tmp_path / "page.html")["index.json"][1]))
    assert "step-0001.safetensors" in index["items"][1]["error"]
    with pytest.raises(TraceError, match=r"step-0001\.safetensors"):
        attn.view(damaged).save(tmp_path / "other.html")


def test_partial(tmp_path):
    """Of a trace that is not finished, what is finished stands in the page."""
    folder = write_trace(tmp_path / "t", manifest(samples=1), partial=True, done=2)
    facts = reduce(folder, 1e6).facts
    steps = [shard["step"]["index"] for shard in facts["manifest"]["shards"] if shard["step"]]
    assert (facts["manifest"]["status"], steps) == ("partial", [0, 1])


def test_no_text_of_a_trace_is_code(tmp_path):
    """Whatever a prompt says, the page has as many elements as its own and its files."""
    about = manifest(samples=1)
    prompt = "</script><script>alert(1)</script><!--"
    request = replace(about.request, prompt=prompt)
    about = replace(about, request=request, words=find_words(prompt))
    folder = write_trace(tmp_path / "<script>" / "<b>", about)
    attn.view(folder).save(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert text.count("<script") == len(embedded(tmp_path / "page.html")) + 1
    assert "alert(1)" not in text


def test_modules_can_be_joined():
    """Every module can stand in one script: its imports and exports have the forms for it."""
    names = [path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.js")]
    for name in set(names) - {"vendor/preact.js", "notebook/widget.js"}:
        text = join_script(name)
        assert not re.search(r"^(import|export)\b", text, re.M), name
        assert "</script" not in text, name
        assert "<!--" not in text, name
