"""What trainers write into a file, decoded; whatever it is, it does no harm."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attn.lora.adapters import written_inside
from attn.lora.metadata import LONGEST, decode, frequent_tags, highlights

TAGS = {"10_cat": {"red cat": 5, "solo": 9}, "5_dog": {"dog ": 3, "solo": 1, "odd": "many"}}


def test_json_in_texts():
    """Objects and lists in texts are read; other texts stay as they are."""
    texts = {"a": '{"b": [1, 2.5]}', "c": "plain", "d": "{no json", "e": " [true]", "f": "12"}
    assert decode(texts) == {
        "a": {"b": [1, 2.5]}, "c": "plain", "d": "{no json", "e": [True], "f": "12",
    }  # fmt: skip


def test_numbers_that_json_cannot_hold():
    """NaN and infinity become null, so that what is printed is JSON again."""
    decoded = decode({"a": '{"x": NaN, "y": -Infinity, "z": 1e999}'})
    assert decoded == {"a": {"x": None, "y": None, "z": None}}
    json.dumps(decoded, allow_nan=False)


@given(st.dictionaries(st.text(max_size=5), st.text()))
def test_any_text(texts):
    """No text makes decoding or the choice of what to show fail."""
    highlights(decode(texts))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
names = st.sampled_from(
    ["ss_tag_frequency", "lora_adapter_metadata", "ss_network_args", "ss_training_started_at"]
)


@given(st.dictionaries(names, values))
def test_any_json(decoded):
    """Fields of other types than trainers write are passed over."""
    highlights(decoded)
    written_inside(decoded)


def test_deep_nesting():
    """A text nested deeper than Python goes stays a text."""
    text = "[" * 100_000
    assert decode({"a": text}) == {"a": text}


def test_frequent_tags():
    """Tags are counted over all folders of pictures, the most frequent first."""
    assert frequent_tags({"ss_tag_frequency": TAGS}) == [("solo", 10), ("red cat", 5), ("dog", 3)]


def test_highlights():
    """The useful fields are shown under plain names, empty ones are not."""
    shown = highlights(
        {
            "ss_output_name": "tuxedo",
            "modelspec.title": "Tuxedo",
            "ss_sd_model_name": "None",
            "ss_base_model_version": "sdxl_base_v1-0",
            "ss_network_args": {"conv_dim": "4", "algo": "lora"},
            "ss_training_started_at": "1700000000.5",
            "ss_v_parameterization": "True",
            "ss_noise_offset": "0.0",
            "ss_tag_frequency": TAGS,
            "ss_bucket_info": {"1": "2"},
        }
    )
    assert shown == {
        "title": "Tuxedo",
        "base model": "sdxl_base_v1-0",
        "network arguments": "conv_dim=4, algo=lora",
        "trained": "2023-11-14 22:13 UTC",
        "prediction": "v",
        "frequent words": "solo (10), red cat (5), dog (3)",
    }


def test_long_values():
    """A value longer than a few lines is cut where it is shown."""
    (shown,) = highlights({"modelspec.description": "x" * 999}).values()
    assert len(shown) == LONGEST + 1


@pytest.mark.parametrize("text", ["soon", "1e400", "1e12", "nan"])
def test_dates_that_are_none(text):
    """A time stamp that is no date is shown as it is."""
    assert highlights({"ss_training_started_at": text}) == {"trained": text}


CONFIG = {
    "unet.lora_alpha": 5,
    "unet.r": 3,
    "unet.alpha_pattern": {"^mid_block\\.attentions\\.0\\.proj_in": 7, "to_q": 1.5},
    "unet.use_rslora": True,
    "text_encoder.lora_alpha": 2.0,
    "text_encoder_2.lora_alpha": True,
}


def test_adapters():
    """Alpha is read per component from peft's configuration, exceptions by the path's end."""
    result = written_inside({"lora_adapter_metadata": CONFIG})
    assert set(result) == {"denoiser", "text_encoder"}
    unet = result["denoiser"]
    paths = ("mid_block.attentions.0.proj_in", "x.attn1.to_q", "xto_q", "x.attn1.to_k")
    assert [unet.alpha_of(path) for path in paths] == [7, 1.5, 5, 5]
    assert (unet.is_rank_stabilised, result["text_encoder"].is_rank_stabilised) == (True, False)


def test_an_adapter_of_one_component():
    """A file of one component has peft's fields without its name."""
    result = written_inside({"lora_adapter_metadata": {"lora_alpha": 4, "r": 2}})
    assert result["denoiser"].alpha_of("anything") == 4
