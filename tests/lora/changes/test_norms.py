"""Norms of changes from their factors, against changes that are formed."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attn import lora
from attn.lora.changes import norms
from tests.helpers.models.lora_files import (
    COLUMNS,
    KERNEL,
    KOHYA,
    MEASURED,
    RELATIVE,
    ROWS,
    normal,
    write,
)
from tests.helpers.models.lora_files import glora as make_glora
from tests.helpers.models.lora_files import ia3 as make_ia3

sizes = st.integers(1, 17)
seeds = st.integers(0, 2**32 - 1)
TO_Q = KOHYA.format(1, "to_q")


def matrices(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


@given(seeds, sizes, sizes, sizes)
def test_product(seed, rows, rank, columns):
    """The norm from the small Gram matrices is that of the product, whatever the rank."""
    up, down = matrices(seed, (rows, rank), (rank, columns))
    assert norms.product_norm(up, down) == pytest.approx(np.linalg.norm(up @ down), rel=1e-9)


@given(seeds, sizes, sizes, sizes, st.floats(-1e3, 1e3))
def test_product_is_homogeneous(seed, rows, rank, columns, factor):
    """Scaling a factor scales the norm by its absolute value."""
    up, down = matrices(seed, (rows, rank), (rank, columns))
    expected = abs(factor) * norms.product_norm(up, down)
    assert norms.product_norm(factor * up, down) == pytest.approx(expected, rel=1e-9)


@given(seeds, sizes, sizes, sizes)
def test_turning_the_inner_axes_changes_nothing(seed, rows, rank, columns):
    """Only the product counts: an orthogonal matrix between the factors leaves the norm alone."""
    up, down, other = matrices(seed, (rows, rank), (rank, columns), (rank, rank))
    turn, _ = np.linalg.qr(other)
    expected = norms.product_norm(up, down)
    assert norms.product_norm(up @ turn, turn.T @ down) == pytest.approx(expected, rel=1e-9)


@given(seeds, sizes, sizes, sizes, sizes, sizes)
def test_tucker(seed, rows, columns, left, right, kernel):
    """The norm through a core is that of the three factors multiplied."""
    up, core, down = matrices(seed, (rows, left), (left, right, kernel), (right, columns))
    formed = np.einsum("pi,ijk,jq->pqk", up, core, down)
    assert norms.tucker_norm(up, core, down) == pytest.approx(np.linalg.norm(formed), rel=1e-9)


@given(seeds, sizes, sizes, sizes, sizes)
def test_hadamard(seed, rows, columns, rank, other):
    """The norm of an element-wise product is the same some rows at a time."""
    a, b, c, d = matrices(seed, (rows, rank), (rank, columns), (rows, other), (other, columns))
    formed = (a @ b) * (c @ d)
    assert norms.hadamard_norm((a, b), (c, d)) == pytest.approx(np.linalg.norm(formed), rel=1e-9)


def test_hadamard_in_blocks(monkeypatch):
    """A change larger than a block gives the same norm as one that fits."""
    a, b, c, d = matrices(3, (13, 5), (5, 11), (13, 3), (3, 11))
    whole = norms.hadamard_norm((a, b), (c, d))
    monkeypatch.setattr(norms, "CHUNK", 23)
    assert norms.hadamard_norm((a, b), (c, d)) == pytest.approx(whole, rel=1e-12)


def test_factors_that_cancel():
    """A product of zeros has norm 0 up to rounding, not a root of a negative number."""
    down = np.repeat(np.random.default_rng(5).standard_normal((1, 11)), 2, axis=0)
    up = np.array([[1.7, -1.7]] * 3)
    size = np.linalg.norm(up) * np.linalg.norm(down)
    assert norms.product_norm(up, down) == pytest.approx(0, abs=1e-7 * size)


def test_a_rank_above_the_size():
    """Many factors of a small change do not make a matrix of rank times rank: 512 MB here."""
    up, down = matrices(6, (1, 8192), (8192, 1))
    tracemalloc.start()
    try:
        norm = norms.product_norm(up, down)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()
    assert norm == pytest.approx(abs((up @ down).item()), rel=1e-9)


def test_what_is_not_finite():
    """NaN and infinity in a factor give NaN, without a warning of numpy."""
    up, down = np.full((2, 1), np.nan), np.ones((1, 3))
    assert math.isnan(norms.product_norm(up, down))


@pytest.mark.parametrize("case", MEASURED)
def test_every_kind_against_its_formed_change(case, tmp_path):
    """Each kind of file gives the norm, rank and shape of the change formed in float64."""
    kind, make = MEASURED[case]
    sample = make(np.random.default_rng(7))
    (module,) = lora.read(write(tmp_path / "a.safetensors", sample.named(TO_Q))).modules
    assert (module.kind, module.rank, module.problem) == (kind, sample.rank, None)
    assert module.norm == pytest.approx(np.linalg.norm(sample.change), rel=1e-9)
    if case not in {"lokr-tucker"}:  # formed with six axes, as the factors have them
        assert module.shape == sample.change.shape
    else:
        assert module.shape == (2 * ROWS, 3 * COLUMNS, *KERNEL)


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e5m2"]
)
def test_every_dtype(dtype, tmp_path):
    """Numbers of every stored type are read exactly and added up in float64."""
    import ml_dtypes

    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    rng = np.random.default_rng(11)
    up, down = normal(rng, ROWS, 3).astype(kind), normal(rng, 3, COLUMNS).astype(kind)
    names = {f"{TO_Q}.lora_up.weight": up, f"{TO_Q}.lora_down.weight": down}
    path = raw(tmp_path / "a.safetensors", names)
    (module,) = lora.read(path).modules
    expected = np.linalg.norm(up.astype(float) @ down.astype(float))
    assert module.norm == pytest.approx(expected, rel=1e-12)
    assert module.alpha is None
    assert module.scale == 1


NAMES = {
    "float16": "F16", "bfloat16": "BF16", "float64": "F64", "float32": "F32",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip


def raw(path, tensors):
    """Write the format by hand, for types that safetensors' numpy side does not know."""
    import json

    header, data = {}, b""
    for name, array in tensors.items():
        start, data = len(data), data + array.tobytes()
        header[name] = {
            "dtype": NAMES[array.dtype.name],
            "shape": array.shape,
            "data_offsets": (start, len(data)),
        }
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


@pytest.mark.parametrize("case", RELATIVE)
def test_kinds_that_depend_on_the_weight(case, tmp_path):
    """Without the base weight such a change has no norm, and the report says so."""
    kind, make = RELATIVE[case]
    sample = make(np.random.default_rng(13))
    read = lora.read(write(tmp_path / "a.safetensors", sample.named(TO_Q)))
    (module,) = read.modules
    assert (module.kind, module.rank, module.norm) == (kind, sample.rank, None)
    assert "unmeasured" in {oddity.kind for oddity in read.oddities}


def model_with(path, weight):
    """Write a diffusers UNet of one layer."""
    (path / "unet").mkdir(parents=True)
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    write(path / "unet" / "diffusion_pytorch_model.safetensors", {name: weight})
    return path


@pytest.mark.parametrize("on_input", [False, True])
def test_ia3_with_its_weight(on_input, tmp_path):
    """(IA)³ multiplies rows, or columns of the input: with the base weight its norm is exact."""
    rng = np.random.default_rng(17)
    sample, weight = make_ia3(rng, on_input=on_input), normal(rng, ROWS, COLUMNS)
    vector = sample.tensors["weight"].astype(float)
    change = weight * (vector if on_input else vector[:, None])
    path = write(tmp_path / "a.safetensors", sample.named(TO_Q))
    (module,) = lora.read(path, model_with(tmp_path / "model", weight)).modules
    assert module.norm == pytest.approx(np.linalg.norm(change), rel=1e-9)


def test_ia3_of_a_convolution(tmp_path):
    """Of a kernel, each input channel has one factor for all positions."""
    rng = np.random.default_rng(18)
    sample, weight = make_ia3(rng, on_input=True), normal(rng, ROWS, COLUMNS, 2, 3)
    change = weight * sample.tensors["weight"].astype(float)[:, None, None]
    path = write(tmp_path / "a.safetensors", sample.named(TO_Q))
    (module,) = lora.read(path, model_with(tmp_path / "model", weight)).modules
    assert module.norm == pytest.approx(np.linalg.norm(change), rel=1e-9)


def test_ia3_that_does_not_fit(tmp_path):
    """A vector of another length than the weight is reported, not stretched."""
    rng = np.random.default_rng(20)
    path = write(tmp_path / "a.safetensors", make_ia3(rng).named(TO_Q))
    read = lora.read(path, model_with(tmp_path / "model", normal(rng, COLUMNS, 7)))
    assert read.modules[0].norm is None
    assert "not_in_model" in {oddity.kind for oddity in read.oddities}


def test_a_kernel_of_one_position_is_a_matrix(tmp_path):
    """A LoRA of a linear layer fits the same layer stored as a convolution of 1 x 1."""
    rng = np.random.default_rng(22)
    weight = normal(rng, ROWS, COLUMNS, 1, 1)
    path = write(tmp_path / "a.safetensors", MEASURED["lora"][1](rng).named(TO_Q))
    (module,) = lora.read(path, model_with(tmp_path / "model", weight)).modules
    assert module.base_norm == pytest.approx(np.linalg.norm(weight))


@pytest.mark.parametrize("is_early", [False, True])
def test_glora_with_its_weight(is_early, tmp_path):
    """GLoRA is W·a·b + c·d in both orders of its factors."""
    rng = np.random.default_rng(19)
    sample, weight = make_glora(rng, is_early=is_early), normal(rng, ROWS, COLUMNS)
    order = ("a2", "a1", "b2", "b1") if is_early else ("a1", "a2", "b1", "b2")
    a, b, c, d = (sample.tensors[f"{name}.weight"].astype(float) for name in order)
    change = sample.tensors["alpha"] / sample.rank * (weight @ a @ b + c @ d)
    path = write(tmp_path / "a.safetensors", sample.named(TO_Q))
    (module,) = lora.read(path, model_with(tmp_path / "model", weight)).modules
    assert module.norm == pytest.approx(np.linalg.norm(change), rel=1e-7)
