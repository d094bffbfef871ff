"""A trace as labelled arrays: right numbers, right labels, and no more read than needed."""

from __future__ import annotations

import pickle  # noqa: TID251 - attn does not, but those who send its traces elsewhere do
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from attn.errors import TraceError
from attn.schema import (
    Column,
    Kept,
    Layer,
    Level,
    Manifest,
    Request,
    Segment,
    Step,
    Token,
    Word,
    find_words,
    part,
    positions,
)
from attn.trace.store import shard_file
from attn.trace.trace import MemoryFiles, Trace, open_trace, resample
from attn.trace.writer import TraceWriter

Files = dict[str, dict[str, np.ndarray]]

# No two sizes are equal and no grid is square: 2 branches, 3 samples, 5 steps, 7 heads.
HEADS, SAMPLES = 7, 3
STEPS = (
    *(Step(index, 900.0 - index, 1 - index / 8) for index in (0, 1, 2, 4)),
    Step(5, None, None),
)
IMAGE = Segment("image", "image", 0, 143, (11, 13))
SMALL = Segment("image", "image", 36, 59, (23, 1))
CLIP, T5 = Segment("clip", "text", 143, 160), Segment("t5", "text", 160, 179)
PROMPT = "a red fox"
WORDS: tuple[Word, ...] = find_words(PROMPT)
TOKENS = (
    Token(143, "clip", 0, "<s>", True, False, 0, 0, None),
    Token(144, "clip", 7, "a", False, False, 0, 1, 0),
    Token(145, "clip", 8, "red", False, False, 2, 5, 1),
    Token(146, "clip", 9, "fox", False, False, 6, 9, 2),
    Token(160, "t5", 7, "a", False, False, 0, 1, 0),
    Token(161, "t5", 8, "re", False, False, 2, 4, 1),
    Token(162, "t5", 9, "d", False, False, 4, 5, 1),
)
OTHER = (
    TOKENS[0],
    Token(144, "clip", 3, "blue", False, False, 0, 4, 0),
    Token(160, "t5", 3, "bl", False, False, 0, 2, 0),
    Token(161, "t5", 4, "ue", False, False, 2, 4, 0),
)
COLUMNS = (
    *(Column("clip", position) for position in (144, 145, 146)),
    Column("clip", None),
    *(Column("t5", position) for position in (160, 161, 162)),
    Column("t5", None),
)
IMAGE_FIRST = Layer(
    2, "denoiser", "blocks.0.attn", "joint", HEADS, (IMAGE, CLIP, T5), (IMAGE, CLIP, T5)
)
TEXT_FIRST = Layer(
    3,
    "denoiser",
    "blocks.1.attn",
    "joint",
    HEADS,
    (Segment("clip", "text", 0, 17), Segment("t5", "text", 17, 36), SMALL),
    (Segment("clip", "text", 0, 17), Segment("t5", "text", 17, 36), SMALL),
)
CONTROL = replace(TEXT_FIRST, index=5, tower="controlnet")
MANIFEST = Manifest(
    status="complete",
    backend="toy",
    model={"source": "demo"},
    request=Request(PROMPT),
    branches=("cond", "uncond"),
    samples=SAMPLES,
    steps=STEPS,
    layers=(IMAGE_FIRST, TEXT_FIRST, CONTROL),
    segments={"cond": (IMAGE, CLIP, T5), "uncond": (IMAGE, CLIP, T5)},
    tokens={"cond": TOKENS, "uncond": OTHER},
    words=WORDS,
    truncated={},
    kept=Kept("maps", "content", "text", False, ("image.text",), (2, 3), COLUMNS),
    identity={},
    shards=(),
    environment={},
    cost={},
)


def with_level(level: Level, **changes: Any) -> Manifest:
    """Return the manifest of a trace that was kept otherwise."""
    return replace(MANIFEST, kept=replace(MANIFEST.kept, level=level, **changes))


def random(*shape: int, seed: int) -> np.ndarray:
    """Return float32 numbers for every branch and sample."""
    return np.random.default_rng(seed).random((2, SAMPLES, *shape), np.float32)


def step_tensors(step: Step) -> dict[str, np.ndarray]:
    """Return what the level `maps` keeps of one step."""
    tensors: dict[str, np.ndarray] = {}
    for layer, pixels in ((2, 143), (3, 23)):
        seed = 10 * step.index + layer
        tensors |= {
            f"{layer}/map.image.text": random(pixels, len(COLUMNS), seed=seed).astype(np.float16),
            f"{layer}/mass.image.text": random(HEADS, 36, seed=seed),
            f"{layer}/total.image": random(HEADS, 3, seed=seed),
            f"{layer}/share.image.text": random(36, seed=seed),
            f"{layer}/entropy.image.text": random(HEADS, seed=seed),
        }
    return tensors


FILES: Files = {shard_file(step): step_tensors(step) for step in STEPS}


class Recorded(MemoryFiles):
    """Tensors in memory that note what is read of them."""

    def __init__(self, manifest: Manifest, files: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        super().__init__(manifest, files)
        self.reads: list[tuple[str, str, tuple[int, ...]]] = []

    def read(self, file: str, tensor: str, index: tuple[int | slice, ...] = ()) -> np.ndarray:
        part = super().read(file, tensor, index)
        self.reads.append((file, tensor, part.shape))
        return part


def memory(files: Files = FILES, manifest: Manifest = MANIFEST) -> Trace:
    """Return a trace that lies in memory."""
    return Trace(MemoryFiles(manifest, files))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the trace; the tests leave it as it is."""
    path = tmp_path_factory.mktemp("traces") / "run"
    memory().save(path)
    return path


def oracle(tensor: str) -> np.ndarray:
    """Return a tensor over all steps in float64."""
    return np.stack([FILES[shard_file(step)][tensor] for step in STEPS]).astype(np.float64)


def test_maps_lie_on_their_grid_under_their_labels(folder: Path) -> None:
    """A heat map is only worth something if its pixels, tokens and words are the right ones."""
    maps = open_trace(folder).maps(2)

    assert maps.dims == ("step", "branch", "sample", "row", "column", "key")
    expected = oracle("2/map.image.text").reshape(5, 2, 3, 11, 13, 8)
    np.testing.assert_array_equal(maps, expected)
    assert maps.position.values.tolist() == [144, 145, 146, -1, 160, 161, 162, -1]
    assert maps.segment.values.tolist() == ["clip"] * 4 + ["t5"] * 4
    cond, uncond = maps.sel(branch="cond"), maps.sel(branch="uncond")
    assert cond.token.values.tolist() == ["a", "red", "fox", "rest", "a", "re", "d", "rest"]
    assert cond.word.values.tolist() == [0, 1, 2, -1, 0, 1, 1, -1]
    assert uncond.token.values.tolist() == ["blue", "", "", "rest", "bl", "ue", "", "rest"]
    assert uncond.word.values.tolist() == [0, -1, -1, -1, 0, 0, -1, -1]
    red = cond.sel(step=4, sample=2)[..., cond.word == 1].sum("key")
    np.testing.assert_allclose(red, expected[3, 0, 2][..., [1, 5, 6]].sum(-1), rtol=1e-2)


def test_steps_carry_timestep_and_noise(folder: Path) -> None:
    """Steps are chosen by index or by how much noise is left; what is unknown is NaN."""
    maps = open_trace(folder).maps("blocks.0.attn")

    assert maps.step.values.tolist() == [0, 1, 2, 4, 5]
    assert maps.timestep.values[:4].tolist() == [900, 899, 898, 896]
    assert maps.noise.values[:4].tolist() == [1, 0.875, 0.75, 0.5]
    assert np.isnan([maps.timestep[4], maps.noise[4]]).all()
    assert maps.attrs == {
        "measure": "map",
        "units": "probability",
        "block": "image.text",
        "layer": 2,
        "tower": "denoiser",
        "path": "blocks.0.attn",
    }


@pytest.mark.parametrize("name", ["map", "mass", "share", "total", "entropy"])
@pytest.mark.parametrize("is_stored", [True, False])
def test_arrays_for_other_processes(folder: Path, name: str, is_stored: bool) -> None:
    """An array that is sent elsewhere has the same numbers there, and is as lazy as it was."""
    block = {"total": "image"}.get(name, "image.text")
    array = (open_trace(folder) if is_stored else memory()).measure(name, 2, block)[1:4:2, 1]
    sent = pickle.dumps(array)

    held = FILES[shard_file(STEPS[2])]["2/mass.image.text"].tobytes()
    assert (held in sent) is not is_stored  # the path is sent, not the numbers
    xr.testing.assert_identical(pickle.loads(sent), array)


def test_traces_for_other_processes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace that was opened by a relative path, and is read here already, is found elsewhere."""
    monkeypatch.chdir(folder.parent)
    trace = open_trace(folder.name)
    trace.maps(2).load()
    worker = "import pickle, sys; t = pickle.load(sys.stdin.buffer); print(float(t.maps(2).sum()))"
    command = [sys.executable, "-c", worker]
    done = subprocess.run(
        command, input=pickle.dumps(trace), capture_output=True, check=True, cwd="/"
    )

    assert float(done.stdout) == float(trace.maps(2).sum())
    assert pickle.loads(pickle.dumps(trace)).manifest == trace.manifest


def test_a_copy_reads_the_same_files() -> None:
    """Copying an array, as xarray does by default, copies none of the numbers behind it."""
    trace = Trace(source := Recorded(MANIFEST, FILES))
    array = trace.maps(2).copy(deep=True)[0]
    assert not source.reads
    array.load()
    assert len(source.reads) == 1


def test_small_measures_have_all_keys_and_segments() -> None:
    """Masses are kept for every key, in the order of the layer and the branch's positions."""
    trace = memory()

    for layer in (2, 3):
        mass = trace.mass(layer)
        assert mass.dims == ("step", "branch", "sample", "head", "key")
        assert mass.position.values.tolist() == list(range(143, 179))
        assert mass.sel(branch="cond").token.values[:5].tolist() == ["<s>", "a", "red", "fox", ""]
        np.testing.assert_array_equal(mass, oracle(f"{layer}/mass.image.text"))
    assert trace.share(2).dims == ("step", "branch", "sample", "key")
    assert trace.total(2).segment.values.tolist() == ["image", "clip", "t5"]
    assert trace.total(3).segment.values.tolist() == ["clip", "t5", "image"]
    np.testing.assert_array_equal(trace.total(3), oracle("3/total.image"))
    assert trace.entropy(2).attrs["units"] == "nats"


def summed(**changes: Any) -> tuple[Trace, np.ndarray]:
    """Return a trace of level `mass` whose totals are stored of the image only, and layer 3's."""
    layers = tuple(replace(layer, blocks=("image.clip", "image.text")) for layer in MANIFEST.layers)
    files: Files = {}
    for file, tensors in FILES.items():
        mass = tensors["3/mass.image.text"]
        files[file] = {
            "3/mass.image.text": mass,
            "3/mass.image.clip": mass[..., :17],
            "3/total.image": tensors["3/total.image"][..., 2:],
        } | changes
    mass = np.asarray(oracle("3/mass.image.text"), np.float64)
    sums = [mass[..., :17].sum(-1), mass[..., 17:].sum(-1), oracle("3/total.image")[..., 2]]
    return memory(files, replace(with_level("mass"), layers=layers)), np.stack(sums, -1)


def test_totals_are_sums_of_masses() -> None:
    """A total reads the same whether it was stored or is the sum of masses, however it is read."""
    trace, want = summed()
    total = trace.total(3)
    assert total.dims == ("step", "branch", "sample", "head", "segment")
    assert total.segment.values.tolist() == ["clip", "t5", "image"]
    assert total.dtype == np.float32
    np.testing.assert_allclose(total, want, rtol=1e-6)
    item = trace.total(3).isel(step=[1, 3]).sel(branch="uncond", segment=["image", "clip"])
    np.testing.assert_allclose(item, want[[1, 3], 1][..., [2, 0]], rtol=1e-6)
    np.testing.assert_allclose(trace.total(3)[2, 0, 1, 1, 1], want[2, 0, 1, 1, 1], rtol=1e-6)
    values = trace.pieces("total", 3, "image").values([0, 2])
    np.testing.assert_allclose(values, np.moveaxis(want[[0, 2]], 0, 2), rtol=1e-6)


def test_totals_that_were_stored_whole() -> None:
    """Traces of level `mass` of earlier versions, which stored every total, read as they did."""
    stored = {"3/total.image": random(HEADS, 3, seed=5)}
    trace, _ = summed(**stored)
    np.testing.assert_array_equal(trace.total(3).isel(step=2), stored["3/total.image"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("total.image", "3/total.image has 2 on the axis segment, the manifest says 3"),
        ("mass.image.clip", "3/mass.image.clip has 2 on the axis key, the manifest says 17"),
    ],
)
def test_damaged_sums(name: str, message: str) -> None:
    """A total is not made of tensors that are not what the manifest says."""
    trace, _ = summed(**{f"3/{name}": random(HEADS, 2, seed=1)})
    with pytest.raises(TraceError, match=message):
        trace.total(3)


@pytest.mark.parametrize("query", ["text", "clip"])
def test_totals_that_are_not_there(query: str) -> None:
    """Of rows without any mass there is no total, which is said as before."""
    with pytest.raises(TraceError, match=f"has no total.{query} of layer 3"):
        summed()[0].total(3, query)


def test_image_keys_are_labelled_by_the_layers_own_positions() -> None:
    """Image positions are the layer's own, and never take the name of a text token."""
    columns = replace(MANIFEST.kept, columns=COLUMNS[:2])
    files: Files = {"attention/mean.safetensors": {"3/map.image.all": random(23, 25, seed=1)}}

    maps = memory(files, replace(MANIFEST, kept=columns)).maps(3, "image.all")

    assert maps.position.values.tolist() == [144, 145, *range(36, 59)]
    assert maps.segment.values.tolist() == ["clip"] * 2 + ["image"] * 23
    assert maps.sel(branch="cond").token.values.tolist() == ["a", "red"] + [""] * 23


def test_queries_that_are_no_image_keep_their_axis() -> None:
    """Text has no grid, and none is guessed."""
    files: Files = {shard_file(STEPS[0]): {"2/map.text.clip": random(36, 4, seed=1)}}

    maps = memory(files).maps(2, "text.clip")

    assert maps.dims == ("step", "branch", "sample", "query", "key")
    assert maps.shape == (1, 2, 3, 36, 4)


@pytest.mark.parametrize("level", ["maps", "heads"])
def test_only_the_part_that_is_looked_at_is_read(level: Level) -> None:
    """A trace may be larger than memory: one step, one sample, two rows must cost just that."""
    files = FILES if level == "maps" else headmaps()
    source = Recorded(with_level(level), files)
    maps = (
        Trace(source).maps(2).sel(step=2, branch="cond").isel(sample=1, row=slice(4, 6), key=[1, 3])
    )
    assert source.reads == []

    maps.load()

    [(file, _, shape)] = source.reads
    assert file == shard_file(STEPS[2])
    assert shape == ((1, 1, 26, 3) if level == "maps" else (1, 1, HEADS, 26, 3))


def test_other_shards_are_not_even_opened(tmp_path: Path) -> None:
    """Looking at one step must not read, or verify, the rest of the disk."""
    memory().save(tmp_path / "run")
    maps = open_trace(tmp_path / "run").maps(2)
    for step in STEPS[1:4]:
        (tmp_path / "run" / shard_file(step)).unlink()

    np.testing.assert_array_equal(maps.sel(step=[0, 5]), maps.isel(step=[0, -1]))
    with pytest.raises(TraceError, match=r"could not read .*step-0002"):
        maps.sel(step=2).load()


SIZES = {"step": 5, "branch": 2, "sample": 3, "row": 11, "column": 13, "key": 8}


slices = {name: st.slices(size) for name, size in SIZES.items()}
anything = {
    name: st.integers(-size, size - 1)
    | st.slices(size)
    | st.lists(st.integers(-size, size - 1), max_size=3)
    for name, size in SIZES.items()
}


@given(
    st.fixed_dictionaries({}, optional=anything),
    st.fixed_dictionaries({}, optional=slices),
)
def test_every_selection_equals_that_of_the_loaded_array(
    first: dict[str, Any], then: dict[str, slice]
) -> None:
    """Reading lazily must be invisible, whatever is selected, and selected again."""
    lazy = memory().maps(2)
    loaded = lazy.copy(data=oracle("2/map.image.text").reshape(lazy.shape).astype(np.float32))

    selected = lazy.isel(first).isel(then, missing_dims="ignore")

    xr.testing.assert_identical(selected, loaded.isel(first).isel(then, missing_dims="ignore"))


def test_pointwise_selection_works_too(folder: Path) -> None:
    """Masks and points are how a region of a picture is chosen."""
    maps = open_trace(folder).maps(2)
    points = {
        "row": xr.DataArray([0, 10, 3], dims="point"),
        "column": xr.DataArray([12, 0, 3], dims="point"),
    }

    np.testing.assert_array_equal(maps.isel(points), maps.copy().load().isel(points))


def headmaps(keys: int = len(COLUMNS)) -> Files:
    """Return what the level `heads` keeps."""
    return {
        shard_file(step): {
            "2/headmap.image.text": random(HEADS, 143, keys, seed=step.index).astype(np.float16)
        }
        for step in STEPS
    }


def test_maps_are_made_of_head_maps() -> None:
    """Whoever keeps every head has the maps too, as their mean in float32."""
    files = headmaps()
    trace = memory(files, with_level("heads"))
    heads = np.stack([files[shard_file(step)]["2/headmap.image.text"] for step in STEPS])

    maps = trace.maps(2)

    assert maps.dtype == np.float32
    expected = heads.astype(np.float64).mean(3).reshape(5, 2, 3, 11, 13, 8)
    np.testing.assert_allclose(maps, expected, rtol=1e-6)
    laid_out = trace.headmaps(2)
    assert laid_out.dims == ("step", "branch", "sample", "head", "row", "column", "key")
    np.testing.assert_array_equal(laid_out, heads.reshape(5, 2, 3, HEADS, 11, 13, 8))


def means() -> Trace:
    """Return a trace of the level `means`."""
    files = {
        file: {name: tensor for name, tensor in tensors.items() if "/map." not in name}
        for file, tensors in FILES.items()
    }
    maps = {
        name: oracle(name).mean(0).astype(np.float32)
        for name in ("2/map.image.text", "3/map.image.text")
    }
    return memory(files | {"attention/mean.safetensors": maps}, with_level("means"))


def test_means_have_no_step(tmp_path: Path) -> None:
    """The level `means` keeps one map over all steps, and everything small per step."""
    trace = means().save(tmp_path / "run")

    assert trace.maps(2).dims == ("branch", "sample", "row", "column", "key")
    np.testing.assert_allclose(
        trace.measure("map", 2, "image.text"), oracle("2/map.image.text").mean(0), rtol=1e-6
    )
    assert trace.mass(2).sizes["step"] == 5
    assert trace.steps == STEPS


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_maps_survive_zarr(folder: Path, tmp_path: Path) -> None:
    """Results leave for other tools, labels included."""
    maps = open_trace(folder).maps(2)

    maps.to_zarr(tmp_path / "maps.zarr")

    with xr.open_dataarray(tmp_path / "maps.zarr", engine="zarr") as back:
        xr.testing.assert_equal(back.load(), maps.load())
        assert back.attrs == maps.attrs
        assert set(back.coords) == set(maps.coords)
        assert back.token.values.tolist() == maps.token.values.tolist()


def test_arrays_become_tables(folder: Path) -> None:
    """One row per number, one column per label."""
    table = open_trace(folder).share(2).to_dataframe()

    assert len(table) == 5 * 2 * 3 * 36
    red = table[(table.token == "red") & (table.timestep == 900)].loc[(0, "cond", 2)]
    assert red.share.tolist() == [FILES[shard_file(STEPS[0])]["2/share.image.text"][0, 2, 2]]


def factors(
    layer: Layer, key_heads: int, dtype: Any, mask: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Return what the level `factors` keeps of a layer, its log-sum-exp as a kernel computes it."""
    rng = np.random.default_rng(layer.index)
    query = rng.normal(size=(2, SAMPLES, layer.num_heads, layer.num_queries, 19)).astype(dtype)
    key = rng.normal(size=(2, SAMPLES, key_heads, layer.num_keys, 19)).astype(dtype)
    wide = np.repeat(key.astype(np.float32), layer.num_heads // key_heads, axis=2)
    logits = np.float32(0.31) * query.astype(np.float32) @ wide.swapaxes(-1, -2)
    if mask is not None:
        logits = logits + mask
    top = logits.max(-1, keepdims=True)
    top = np.where(np.isneginf(top), 0, top)
    with np.errstate(divide="ignore"):
        lse = np.log(np.exp(logits - top).sum(-1)) + top[..., 0]
    tensors = {"query": query, "key": key, "lse": np.where(np.isneginf(lse), 0, lse)}
    tensors["scale"] = np.full((2, SAMPLES), 0.31)
    if mask is not None:
        tensors["mask"] = np.broadcast_to(mask, (2, SAMPLES, *mask.shape))
    return {
        f"{layer.index}/{name}": tensor if name in ("query", "key") else tensor.astype(np.float32)
        for name, tensor in tensors.items()
    }


def softmax(tensors: dict[str, np.ndarray], layer: Layer, cell: tuple[int, int]) -> np.ndarray:
    """Compute the probs of one branch and sample in float64, the long way."""
    item = {name.split("/")[1]: tensor[cell].astype(np.float64) for name, tensor in tensors.items()}
    key = np.repeat(item["key"], layer.num_heads // len(item["key"]), axis=0)
    logits = item["scale"] * item["query"] @ key.swapaxes(-1, -2) + item.get("mask", 0)
    top = logits.max(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        probs = np.exp(logits - top)
    return np.asarray(np.nan_to_num(probs / probs.sum(-1, keepdims=True)))


QWEN = replace(TEXT_FIRST, num_heads=6, num_key_heads=2)


@pytest.mark.parametrize(("dtype", "bar"), [(np.float32, 1e-5), (ml_dtypes.bfloat16, 1e-4)])
@pytest.mark.parametrize("key_heads", [1, 2, 6])
def test_probs_are_recomputed_exactly(
    tmp_path: Path, dtype: Any, bar: float, key_heads: int
) -> None:
    """Factors give the softmax of the model's own query and key, also with grouped queries."""
    tensors = factors(QWEN, key_heads, dtype, None)
    layer = replace(QWEN, num_key_heads=key_heads)
    manifest = replace(with_level("factors", layers=(QWEN.index,)), layers=(layer,))
    trace = memory({shard_file(STEPS[2]): tensors}, manifest).save(tmp_path / "run")
    expected = softmax(tensors, QWEN, (1, 2))

    probs = trace.probs(3, 2, branch="uncond", sample=2)

    assert probs.dims == ("head", "query", "key")
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs, expected, atol=bar)
    np.testing.assert_allclose(probs.sum("key"), 1, atol=bar)
    block = trace.probs(3, 2, "image.t5", branch="uncond", sample=2)
    np.testing.assert_allclose(block, expected[:, 36:59, 17:36], atol=bar)
    assert block.token.values[:3].tolist() == ["bl", "ue", ""]
    assert block.position.values[0] == 160


LOWEST = float(np.finfo(np.float32).min)


@pytest.mark.parametrize(("rows", "hidden"), [(1, 0), (59, 0), (59, -np.inf)])
def test_masked_keys_get_nothing_and_masked_rows_what_the_kernel_gives_them(
    rows: int, hidden: float
) -> None:
    """A row of the lowest number is uniform, a row of minus infinity is zero, as in torch."""
    mask = np.zeros((1, rows, 59))
    mask[..., 40:] = LOWEST
    mask[..., 50:] = -np.inf
    if rows > 1:
        mask[0, 7], mask[0, 11] = LOWEST, -np.inf
    layer = replace(TEXT_FIRST, num_heads=5)
    tensors = factors(layer, 5, np.float32, mask)
    if rows > 1:
        tensors["3/lse"][..., 11] = hidden
    manifest = replace(with_level("factors"), layers=(layer,))

    probs = memory({shard_file(STEPS[0]): tensors}, manifest).probs(3, 0, sample=1).values

    expected = softmax(tensors, layer, (0, 1))
    if rows > 1:
        expected[:, 7] = 1 / 59
        assert (probs[:, 11] == 0).all()
    np.testing.assert_allclose(probs, expected, atol=1e-5)
    usual = [row for row in range(59) if row not in (7, 11)]
    assert (probs[:, usual, 40:] == 0).all()


def test_probs_come_from_head_maps_with_all_keys() -> None:
    """Head maps are exact only if no column gathers the rest; otherwise the remedy is named."""
    whole = tuple(
        Column(segment, place)
        for segment, start, stop in (("clip", 143, 160), ("t5", 160, 179))
        for place in range(start, stop)
    )
    files = headmaps(36)
    trace = memory(files, with_level("heads", keys="all", columns=whole))

    probs = trace.probs(2, 4, "image.text", sample=1)

    np.testing.assert_array_equal(probs, files[shard_file(STEPS[3])]["2/headmap.image.text"][0, 1])
    with pytest.raises(TraceError) as raised:
        memory(headmaps(), with_level("heads")).probs(2, 4, "image.text")
    assert str(raised.value) == (
        "the trace was kept with level 'heads', keys 'content', so there are no exact probs of "
        "image.text in layer 2 (blocks.0.attn): capture with --keep factors, or with --keep heads "
        "--keys all --blocks image.text"
    )


sizes = st.tuples(st.integers(1, 13), st.integers(1, 11))


@given(sizes, sizes, st.integers(0, 99))
def test_resampling_keeps_every_keys_mean(
    old: tuple[int, int], new: tuple[int, int], seed: int
) -> None:
    """Layers of any grids can be averaged: nothing is gained or lost on the way."""
    values = np.random.default_rng(seed).random((3, *old, 2)).astype(np.float16)
    maps = xr.DataArray(values, {"word": ("key", [4, 7])}, ("step", "row", "column", "key"), "map")

    result = resample(maps, new)

    assert result.dims == maps.dims
    assert result.shape == (3, *new, 2)
    assert result.word.values.tolist() == [4, 7]
    np.testing.assert_allclose(
        result.mean(("row", "column")), maps.astype(float).mean(("row", "column")), atol=1e-5
    )
    np.testing.assert_allclose(resample(xr.ones_like(maps), new), 1, atol=1e-6)


@given(sizes, st.integers(1, 3), st.integers(1, 5))
def test_resampling_by_whole_numbers_repeats_and_averages(
    grid: tuple[int, int], down: int, across: int
) -> None:
    """The plain cases are what anyone would do by hand."""
    values = np.random.default_rng(0).random(grid).astype(np.float32)
    maps = xr.DataArray(values, dims=("row", "column"))
    fine = values.repeat(down, 0).repeat(across, 1)

    larger = resample(maps, (grid[0] * down, grid[1] * across))

    np.testing.assert_allclose(larger, fine, rtol=1e-5)
    np.testing.assert_allclose(resample(larger, grid), values, rtol=1e-5)
    xr.testing.assert_identical(resample(maps, grid), maps)


def test_resampling_by_a_fraction_weighs_by_area() -> None:
    """Three cells onto two: each takes one cell and half of the middle one."""
    maps = xr.DataArray([[3.0, 6.0, 12.0]], {"column": [0, 1, 2]}, ("row", "column"))

    result = resample(maps, (1, 2))

    np.testing.assert_allclose(result, [[4, 10]])
    assert "column" not in result.coords


def on_grid(layer: int, steps: list[int]) -> np.ndarray:
    """Return one cell's maps of a layer, (step, row, column, key) in float64."""
    grid = (11, 13) if layer == 2 else (23, 1)
    return oracle(f"{layer}/map.image.text")[steps, 1, 2].reshape(len(steps), *grid, 8)


def test_mean_maps_average_layers_of_different_grids(folder: Path) -> None:
    """The usual picture of a word is a mean over everything, on the finest grid there is."""
    trace = open_trace(folder)

    mean = trace.mean_maps(branch="uncond", sample=2)

    assert mean.sizes == {"row": 11, "column": 13, "key": 8}
    assert mean.token.values.tolist() == ["blue", "", "", "rest", "bl", "ue", "", "rest"]
    both = [on_grid(layer, list(range(5))).mean((0, 1, 2)) for layer in (2, 3)]
    np.testing.assert_allclose(mean.mean(("row", "column")), np.mean(both, 0), atol=1e-5)
    item = trace.mean_maps(layers=["blocks.0.attn"], steps=[1, 5], branch="uncond", sample=2)
    np.testing.assert_allclose(item, on_grid(2, [1, 4]).mean(0), atol=1e-6)
    coarse = trace.mean_maps(branch="uncond", sample=2, grid=(2, 5))
    np.testing.assert_allclose(coarse.mean(("row", "column")), np.mean(both, 0), atol=1e-5)


def test_mean_maps_read_one_map_at_a_time() -> None:
    """Memory must not grow with the steps of a trace."""
    source = Recorded(MANIFEST, FILES)

    Trace(source).mean_maps()

    assert len(source.reads) == 2 * len(STEPS)
    assert {shape for _, _, shape in source.reads} == {(1, 1, 143, 8), (1, 1, 23, 8)}
    files = [file for file, _, _ in source.reads]
    assert files == sorted(files), "one shard after the other"


def test_mean_maps_of_means_and_of_heads_agree_with_those_of_maps() -> None:
    """What was kept decides what can be asked, not what comes out."""
    np.testing.assert_allclose(means().mean_maps(), memory().mean_maps(), atol=1e-6)
    with pytest.raises(TraceError, match=r"keeps maps as means over all steps only: .*--keep maps"):
        means().mean_maps(steps=[1])
    trace = memory(headmaps(), with_level("heads", layers=(2,)))
    expected = trace.maps(2).sel(branch="cond", sample=0).mean("step")
    np.testing.assert_allclose(trace.mean_maps(), expected, atol=1e-6)


def test_what_did_not_run_does_not_count() -> None:
    """A layer that a step leaves out is NaN there, and must not spoil or thin the mean."""
    files = {file: dict(tensors) for file, tensors in FILES.items()}
    for step in STEPS[1:]:
        skipped = files[shard_file(step)]["2/map.image.text"] * np.float16(np.nan)
        files[shard_file(step)]["2/map.image.text"] = skipped

    mean = memory(files).mean_maps(layers=[2])

    expected = FILES[shard_file(STEPS[0])]["2/map.image.text"][0, 0].reshape(11, 13, 8)
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    with pytest.raises(TraceError, match="none of the asked layers ran in the asked steps"):
        memory(files).mean_maps(layers=[2], steps=[1, 4])


def test_maps_that_were_not_kept_are_missed_with_the_remedy() -> None:
    """The message says what there is, and which capture would have what is missing."""
    files = {file: {"2/mass.image.text": random(HEADS, 36, seed=1)} for file in FILES}
    trace = memory(files, with_level("mass"))

    for name, ask in (
        ("map", trace.mean_maps),
        ("map", lambda: trace.maps(2)),
        ("share_max", lambda: trace.measure("share_max", 2, "image.text")),
        ("peak", lambda: trace.measure("peak", 2, "image.text")),
    ):
        with pytest.raises(TraceError) as raised:
            ask()
        assert str(raised.value) == (
            f"the trace has no {name}.image.text of layer 2 (blocks.0.attn): its level is 'mass', "
            "complete; of this layer it has mass.image.text; capture with --keep maps (or means)"
        )


def test_wrong_names_are_answered_with_the_right_ones() -> None:
    """Nobody should have to guess what a trace holds."""
    trace = memory()
    for ask, message in (
        (lambda: trace.maps(4), "there is no layer 4; there is 2, 3, 5."),
        (lambda: trace.maps("blocks.0.atn"), "Did you mean 'blocks.0.attn'?"),
        (lambda: trace.layer("blocks.1.attn"), "denoiser:blocks.1.attn, controlnet:blocks.1.attn"),
        (
            lambda: trace.maps(5),
            "no map.image.text of layer 5 (blocks.1.attn): .*it has layers 2, 3",
        ),
        (lambda: trace.maps(2, "image.t6"), "of this layer it has map.image.text, mass.image.text"),
        (lambda: trace.measure("maps", 2), "there is no measure 'maps'; .*Did you mean 'map'?"),
        (lambda: trace.probs(2, 0, "image.t6"), "no block 'image.t6'; .*Did you mean 'image.t5'?"),
        (lambda: trace.probs(2, 3), "there is no step 3; there is 0, 1, 2, 4, 5."),
        (lambda: trace.mean_maps(branch="skip"), "no branch 'skip'; there is cond, uncond."),
        (lambda: trace.mean_maps(sample=3), "no sample 3; there is 0, 1, 2."),
        (lambda: trace.mean_maps(steps=[3]), "there is no step 3; there is 0, 1, 2, 4, 5."),
        (
            lambda: trace.mean_maps("all.all"),
            "no kept layer of the trace has maps all.all on a grid",
        ),
        (lambda: trace.tokens("skip"), "there is no branch 'skip'; there is cond, uncond."),
        (trace.image, "the trace has no picture"),
    ):
        with pytest.raises(
            TraceError, match=message.replace("?", r"\?").replace("(", r"\(").replace(")", r"\)")
        ):
            ask()


def test_layers_with_other_keys_are_not_averaged() -> None:
    """A mean over columns that mean different things would look like a result."""
    whole = {
        "2/map.image.image": random(143, 143, seed=1),
        "3/map.image.image": random(23, 23, seed=1),
    }
    with pytest.raises(TraceError, match=r"other keys in layer blocks.1.attn than in blocks.0"):
        memory({shard_file(STEPS[0]): whole}).mean_maps("image.image")


def test_layers_of_towers_that_share_a_path_are_told_apart(unchecked: None) -> None:
    """A ControlNet repeats the paths of its UNet."""
    trace = memory()
    assert trace.layer("controlnet:blocks.1.attn") is CONTROL
    assert trace.layer(np.int64(3)) is TEXT_FIRST  # type: ignore[arg-type]
    assert trace.layer("blocks.0.attn") is IMAGE_FIRST


def test_the_plain_facts_of_a_trace() -> None:
    """What one asks first of a trace is one word away."""
    trace = memory()

    assert (trace.layers, trace.steps, trace.words) == (MANIFEST.layers, STEPS, WORDS)
    assert trace.branches == ("cond", "uncond")
    assert trace.tokens() == TOKENS
    assert trace.tokens("uncond") == OTHER
    assert repr(trace) == "<Trace of toy: 5 steps, 2 layers kept>"
    assert positions(part(IMAGE_FIRST.keys, "text")) == list(range(143, 179))


def test_saving_copies_a_trace_whole(folder: Path, tmp_path: Path) -> None:
    """A trace in memory, or of another folder, becomes the same trace on disk."""
    source = open_trace(folder)
    copy = source.save(tmp_path / "copy")

    assert copy.manifest == source.manifest
    xr.testing.assert_identical(copy.maps(3).load(), memory().maps(3).load())
    with pytest.raises(TraceError, match="is where the trace lies already"):
        copy.save(tmp_path / "copy")
    with pytest.raises(TraceError, match="already holds a trace"):
        memory().save(tmp_path / "copy")


def test_pictures_come_along(tmp_path: Path) -> None:
    """Heat maps are laid over the picture, so it travels with the trace."""
    outputs = ("outputs/image-0.png", "outputs/text.txt", "outputs/image-1.png")
    with TraceWriter(tmp_path / "run", MANIFEST) as writer:
        writer.finish(replace(MANIFEST, outputs=outputs))
    (tmp_path / "run/outputs").mkdir()
    for name in outputs:
        (tmp_path / "run" / name).write_text(name)

    copy = open_trace(tmp_path / "run").save(tmp_path / "copy")

    assert copy.image(1) == tmp_path / "copy/outputs/image-1.png"
    assert copy.image(1).read_text() == "outputs/image-1.png"
    with pytest.raises(TraceError, match="there is no picture 2; there is 0, 1"):
        copy.image(2)


def test_a_partial_trace_is_read_and_saved_as_one(tmp_path: Path) -> None:
    """What a killed run finished is as good as any, but never passes for complete."""
    with TraceWriter(tmp_path / "run", with_level("means")) as writer:
        writer.put(STEPS[0], {"2/mass.image.text": random(HEADS, 36, seed=1)})

    trace = open_trace(tmp_path / "run").save(tmp_path / "copy")

    assert (trace.manifest.status, trace.steps) == ("partial", STEPS[:1])
    assert trace.mass(2).sizes["step"] == 1
    with pytest.raises(
        TraceError, match=r"no map.image.text of layer 2 .* level is 'means', partial"
    ):
        trace.maps(2)
    with TraceWriter(tmp_path / "empty", MANIFEST):
        pass
    with pytest.raises(TraceError, match="has no finished step"):
        open_trace(tmp_path / "empty").maps(2)


def test_a_collection_is_not_a_trace(tmp_path: Path) -> None:
    """A folder of traces says so instead of missing a file."""
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(
        TraceError, match="is a collection of traces: open one of the folders in it"
    ):
        open_trace(str(tmp_path))
