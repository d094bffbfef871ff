"""The manual's page on LoRA files is executed: what it shows is what happens."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from attn.cli import build
from tests.helpers.models.lora_files import write

PAGE = Path(__file__).parents[2] / "docs" / "lora.md"
WIDTH, CONTEXT, ENCODER = 64, 2048, 96
BLOCKS = {"input_blocks_4_1": 1.0, "middle_block_1": 1.7, "output_blocks_1_1": 1.3}
LAYERS = {"attn1_to_q": WIDTH, "attn2_to_k": CONTEXT, "attn2_to_v": CONTEXT, "ff_net_2": WIDTH}


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the LoRA that the page speaks of: SDXL's names, a few narrow layers."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    tensors = {}
    for block, size in BLOCKS.items():
        for layer, columns in LAYERS.items():
            stem = f"lora_unet_{block}_transformer_blocks_0_{layer}"
            tensors |= factors(rng, stem, WIDTH, columns, size)
    for number in range(2):
        stem = f"lora_te1_text_model_encoder_layers_{number}_self_attn_q_proj"
        tensors |= factors(rng, stem, ENCODER, ENCODER, 0.3 * (1 - number))
    metadata = {
        "ss_output_name": "style",
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_network_dim": "4",
        "ss_network_alpha": "2",
        "ss_steps": "2400",
        "ss_tag_frequency": '{"10_style": {"ink drawing": 40, "cat": 12, "chair": 7}}',
    }
    write(tmp_path / "style.safetensors", tensors, **metadata)


def factors(rng, stem, rows, columns, size):
    down = rng.standard_normal((4, columns)) / columns**0.5
    up = size * rng.standard_normal((rows, 4)) / rows**0.5
    return {
        f"{stem}.lora_down.weight": down.astype(np.float16),
        f"{stem}.lora_up.weight": up.astype(np.float16),
        f"{stem}.alpha": np.float16(2),
    }


def fences(language):
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def masked(text):
    """Replace hashes, which depend on the library that wrote the file."""
    return re.sub(r"\b[0-9a-f]{64}\b", "SHA256", text)


def test_commands_print_what_is_shown(workplace):
    """Every console session of the page gives exactly the output that it shows."""
    sessions = re.findall(r"^\$ attn (.*)\n((?:(?!\$ ).*\n)*)", "".join(fences("console")), re.M)
    assert sessions
    for command, expected in sessions:
        result = CliRunner().invoke(build(), shlex.split(command))
        assert (result.exit_code, masked(result.stdout)) == (0, masked(expected))


def test_python_runs(workplace, capsys):
    """The Python of the page runs and prints what it says."""
    (snippet,) = fences("python")
    exec(compile(snippet, PAGE.name, "exec"), {"__name__": "snippet"})
    expected = [line.partition("  # ")[2] for line in snippet.splitlines() if "  # " in line]
    assert capsys.readouterr().out.splitlines() == expected


def test_every_oddity_is_explained():
    """Each kind of oddity that the code knows stands on the page."""
    import attn.lora.oddities

    source = Path(attn.lora.oddities.__file__).read_text(encoding="utf-8")
    kinds = set(re.findall(r'Oddity\(\s*"(\w+)"', source)) | {"missing_pair", "wrong_shape"}
    page = PAGE.read_text(encoding="utf-8")
    assert {kind for kind in kinds if f"`{kind}`" not in page} == set()
