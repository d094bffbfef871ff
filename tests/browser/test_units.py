"""Modules of the page, imported in the browser, against numpy and against the Python trace."""

import numpy as np
import pytest


def test_half_table(modules):
    """Every float16 becomes the float32 that numpy makes of it."""
    got = modules.evaluate(
        """async () => { const { HALF } = await import("/static/data/half.js");
        return [...new Uint32Array(HALF.buffer)]; }"""
    )
    expected = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    values = np.array(got, np.uint32).view(np.float32)
    np.testing.assert_array_equal(values, expected)


def test_dtypes(modules):
    """Tensors in bfloat16, as factors have, are read exactly."""
    import ml_dtypes

    values = np.random.default_rng(3).normal(size=97).astype(ml_dtypes.bfloat16)
    got = modules.evaluate(
        """async (bits) => { const { toFloats } = await import("/static/data/half.js");
        return [...toFloats(new Uint16Array(bits).buffer, "BF16")]; }""",
        values.view(np.uint16).tolist(),
    )
    np.testing.assert_array_equal(got, values.astype(np.float64))


@pytest.mark.parametrize(
    "header",
    [
        "{",
        '{"a": 1}',
        '{"a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 40]}}',
        '{"a": {"dtype": "F16", "shape": [-2], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "F16", "shape": [3], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "X16", "shape": [2], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "F16", "shape": [1e99], "data_offsets": [0, 4]}}',
        '{"__proto__": {"dtype": "F16", "shape": [2], "data_offsets": ["0", 4]}}',
    ],
)
def test_hostile_headers(modules, header):
    """A header that leads out of its file, or is none, is refused by name."""
    said = modules.evaluate(
        """async (text) => { const { parseHeader } = await import("/static/data/safetensors.js");
        try { parseHeader(new TextEncoder().encode(text), 8, "x.safetensors"); return "taken"; }
        catch (error) { return error.message; } }""",
        header,
    )
    assert said.startswith("x.safetensors has a damaged header")


def test_visible(modules):
    """Text is spelled out in the page exactly as the command line does."""
    from attn.files.safe_text import visible

    text = "a\u202eb\x1b[31m\u2028\tä\U0001f600\x00"
    got = modules.evaluate(
        """async (text) => (await import("/static/safe.js")).visible(text)""", text
    )
    assert got == visible(text)
