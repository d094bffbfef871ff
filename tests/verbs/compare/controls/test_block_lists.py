"""Block weights as other tools read them: held against readers made of these tools' documents."""

import re

import numpy as np
import pytest

from attn import lora
from attn.lora.block_weights import sweep_blocks
from attn.verbs.compare.controls.block_lists import A1111, COMFYUI, write_block_lists
from tests.helpers.models.lora_files import pair, write

COLUMNS = {
    12: "BASE IN04 IN05 IN07 IN08 MID OUT00 OUT01 OUT02 OUT03 OUT04 OUT05",
    17: "BASE IN01 IN02 IN04 IN05 IN07 IN08 MID OUT03 OUT04 OUT05 OUT06 OUT07 OUT08 OUT09 OUT10 "
    "OUT11",
    20: "BASE IN00 IN01 IN02 IN03 IN04 IN05 IN06 IN07 IN08 MID OUT00 OUT01 OUT02 OUT03 OUT04 OUT05 "
    "OUT06 OUT07 OUT08",
    26: "BASE IN00 IN01 IN02 IN03 IN04 IN05 IN06 IN07 IN08 IN09 IN10 IN11 MID OUT00 OUT01 OUT02 "
    "OUT03 OUT04 OUT05 OUT06 OUT07 OUT08 OUT09 OUT10 OUT11",
}
"""What each weight of a list is of, by the length of the list, as LoRA Block Weight documents."""
LEVELS = {"sd15": (4, range(3), range(1, 4)), "sdxl": (3, range(1, 3), range(2))}
"""Levels of a family's UNet; those with attention on the way down, and on the way up."""
ENCODER = "te_text_model_encoder_layers_3_mlp_fc1"


def keys_of(family, has_convolutions):
    """Return what LDM calls modules of every block of a UNet, in the order of the network."""
    levels, down, up = LEVELS[family]
    places = [divmod(at, 3) for at in range(3 * levels)]
    convolutions = ("0_in_layers_2",) if has_convolutions else ()
    middle = ["0_in_layers_2", "1_proj_in", "2_in_layers_2"] if has_convolutions else ["1_proj_in"]
    return [
        *(f"input_blocks_{3 * level + place + 1}_{end}" for level, place in places if place < 2
          for end in (*convolutions, *(("1_proj_in",) if level in down else ()))),
        *(f"middle_block_{end}" for end in middle),
        *(f"output_blocks_{3 * level + place}_{end}" for level, place in places
          for end in (*convolutions, *(("1_proj_in",) if level in up else ()))),
    ]  # fmt: skip


def slot(key):
    """Return what block-weight tools call the block of a module."""
    match = re.match(r"(in|out)put_blocks_(\d+)", key)
    if match:
        return f"{match[1].upper()}{int(match[2]):02}"
    return "BASE" if key == ENCODER else "MID"


def read_a1111(line, keys):
    """A list has a weight for each documented column; a block without one has 0."""
    weights = [float(part) for part in line.partition(":")[2].split(",")]
    by_slot = dict(zip(COLUMNS[len(weights)].split(), weights, strict=True))
    return {key: by_slot.get(slot(key), 0.0) for key in keys}


def read_comfyui(line, keys):
    """Of at least twelve weights the second goes to the first block, and so on; one of a number."""
    first, *others = [float(part) for part in line.partition(":")[2].split(",")]
    assert len(others) >= 11
    read, before, weight = {}, None, 0.0
    for key in keys:
        number = re.search(r"\d+", key)[0]
        if key == ENCODER:
            read[key] = first
            continue
        if number != before:
            weight, before = others.pop(0), number
        read[key] = weight
    return read


@pytest.mark.parametrize("has_convolutions", [False, True])
@pytest.mark.parametrize("family", LEVELS)
@pytest.mark.parametrize(("file", "read"), [(A1111, read_a1111), (COMFYUI, read_comfyui)])
def test_read_back(tmp_path, file, read, family, has_convolutions):
    """Of each preset both tools give a module its block's weight: 1 alone, or 0 where it is out."""
    keys = [ENCODER, *keys_of(family, has_convolutions)]
    rng, tensors = np.random.default_rng(3), {}
    for key in keys:
        tensors |= pair(rng).named(f"lora_{key}" if key == ENCODER else f"lora_unet_{key}")
    blocks = sweep_blocks(lora.read(write(tmp_path / "a.safetensors", tensors)))
    assert set(blocks) == set(map(slot, keys))
    rows = [
        {"whole_name": "a: b", "kind": "alone", "kohya": name, "part": ",".join(parts)}
        | {"low": 0.5, "high": 1.5}
        for name, parts in blocks.items()
    ]
    write_block_lists(rows, family, tmp_path)
    lines = (tmp_path / file).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 2 * len(blocks)
    for line in lines[1:]:
        kind, _, of = line.partition(":")[0].removeprefix("a-b-").partition("-")
        expected = {key: float((slot(key) == of) == (kind == "only")) for key in keys}
        assert read(line, keys) == expected
