"""`attn lora`."""

import json
from hashlib import sha256

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from attn.cli import build
from tests.helpers.models.lora_files import ALPHA, KOHYA, RANK, lokr, normal, pair, write

STEMS = (
    KOHYA.format(1, "to_q"),
    KOHYA.format(2, "to_k"),
    "lora_te1_text_model_encoder_layers_0_mlp_fc1",
)


def run(*arguments):
    """Return exit code, stdout and stderr of a command."""
    result = CliRunner().invoke(build(), [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def changes():
    """The three modules of the file, as tensors and as the changes they stand for."""
    rng = np.random.default_rng(41)
    return {stem: pair(rng) for stem in STEMS}


@pytest.fixture
def file(changes, tmp_path, monkeypatch):
    """A LoRA of two attention layers and one layer of the text encoder."""
    monkeypatch.chdir(tmp_path)
    tensors = {
        name: array
        for stem, change in changes.items()
        for name, array in change.named(stem).items()
    }
    metadata = {"ss_output_name": "cat\x1b[31m", "ss_network_args": '{"conv_dim": 4}'}
    write(tmp_path / "cat.safetensors", tensors, **metadata)
    return "cat.safetensors"


def test_report(file, changes, tmp_path):
    """The whole report: the file, its sizes by tower, purpose and block, what its trainer wrote."""
    norms = [float(np.linalg.norm(change.change)) for change in changes.values()]
    data = (tmp_path / file).read_bytes()
    weights = data[8 + int.from_bytes(data[:8], "little") :]
    both, whole = np.hypot(*norms[:2]), np.linalg.norm(norms)
    q, k, te, unet = (f"{x:.4g}" for x in (*norms, both))
    shares = [f"{100 * x**2 / whole**2:.3g} %" for x in (*norms, both)]
    expected = f"""\
file        cat.safetensors, {len(data) / 1000:.1f} kB, F32
format      LoRA, in the names of kohya
made for    unknown, with the blocks of a UNet
              cross-attention reads 11 channels
loadable    perhaps: its modules tell no family
              --model MODEL says what it fits
rank        5
alpha       2
scale       0.4
‖ΔW‖        {whole:.4g} in 3 modules
sha256      {sha256(data).hexdigest()}
of weights  {sha256(weights).hexdigest()}

TOWER         MODULES  ‖ΔW‖   SHARE
denoiser      2        {unet}  {shares[3]}
text_encoder  1        {te}  {shares[2]}

TARGET                      MODULES  ‖ΔW‖   SHARE
cross attention             1        {k}  {shares[1]}
self attention              1        {q}  {shares[0]}
text_encoder: feed forward  1        {te}  {shares[2]}

BLOCK                       MODULES  ‖ΔW‖   SHARE
down_blocks.1.attentions.0  2        {unet}  {shares[3]}  {"█" * 24}

what the trainer wrote:
  title              cat\\u001b[31m
  network arguments  conv_dim=4
"""
    assert run("lora", file) == (0, expected, "")


def test_json(file, changes):
    """With --json stdout is one object with every module, and warnings where there are any."""
    code, stdout, stderr = run("lora", file, "--json")
    answer = json.loads(stdout)
    assert (code, stderr) == (0, "")
    assert [answer[key] for key in ("command", "status", "path", "warnings", "out", "files")] == [
        "lora", "complete", "cat.safetensors", [], None, [],
    ]  # fmt: skip
    modules = {module["name"]: module for module in answer["modules"]}
    for stem, change in changes.items():
        assert modules[stem]["norm"] == pytest.approx(np.linalg.norm(change.change), rel=1e-9)
        assert (modules[stem]["rank"], modules[stem]["alpha"]) == (RANK, ALPHA)
    assert answer["metadata"]["ss_network_args"] == {"conv_dim": 4}
    assert answer["format"]["loadable"] is None


def test_out(file):
    """With --out the numbers are also in two tables and the chart is drawn; the report says so."""
    code, stdout, stderr = run("lora", file, "--out", "found")
    assert (code, stderr) == (0, "")
    assert stdout.endswith("\nfound\n  modules.csv\n  blocks.csv\n  norms.png\n  lora.json\n")


def test_files(file, tmp_path):
    """Tables have one row per module and block; JSON and picture name the file they are about."""
    run("lora", file, "-o", "found")
    modules = (tmp_path / "found" / "modules.csv").read_text().splitlines()
    assert modules[0] == (
        "tower,block,target,name,kind,dora,rank,alpha,scale,shape,dtype,norm,base_path,base_norm,"
        "relative,problem"
    )
    assert len(modules) == 1 + len(STEMS)
    blocks = (tmp_path / "found" / "blocks.csv").read_text().splitlines()
    assert blocks[0] == "place,tower,block,name,kohya,modules,norm,share,relative"
    assert [line.split(",")[2] for line in blocks[1:]] == ["down_blocks.1.attentions.0", "layers.0"]
    facts = json.loads((tmp_path / "found" / "lora.json").read_text())
    assert (facts["schema"], facts["file"]["path"]) == (1, "cat.safetensors")
    with Image.open(tmp_path / "found" / "norms.png") as picture:
        assert picture.text["file"] == "cat.safetensors"


def test_results_are_replaced(file, tmp_path):
    """A second run replaces the results of the first, and leaves nothing else behind."""
    for _ in range(2):
        assert run("lora", file, "-o", "found")[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == {"cat.safetensors", "found"}


def test_nothing_foreign_is_replaced(file, tmp_path):
    """A folder with anything else, such as the LoRA itself, is refused and stays as it is."""
    message = (
        "Error: . is no folder of results of `attn lora`, and not empty: it is not replaced; "
        "choose another with --out\n"
    )
    assert run("lora", file, "-o", ".") == (1, "", message)
    assert run("lora", file, "-o", file)[2] == (
        "Error: cat.safetensors is a file: it is not replaced; choose another with --out\n"
    )


def test_notes_beside_results(file, tmp_path):
    """What somebody put into the folder of the results is there after the next run."""
    run("lora", file, "-o", "found")
    (tmp_path / "found" / "notes.txt").write_text("mine")
    (tmp_path / "found" / "blocks.csv").unlink()
    assert run("lora", file, "-o", "found")[0] == 0
    assert (tmp_path / "found" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "found" / "blocks.csv").exists()


def test_a_folder_that_cannot_be_written(file, tmp_path):
    """A place where no folder can be is exit 1 with the reason, and nothing is left there."""
    (tmp_path / "taken").write_text("")
    code, stdout, stderr = run("lora", file, "-o", "taken/found")
    assert (code, stdout) == (1, "")
    assert stderr.startswith("Error: could not write taken/found: ")


def test_oddities(tmp_path):
    """What is odd is listed with the names concerned, and is a warning in the JSON."""
    rng = np.random.default_rng(43)
    tensors = lokr(rng).named(STEMS[0]) | pair(rng).named(STEMS[1])
    del tensors[f"{STEMS[1]}.lora_up.weight"]
    path = write(tmp_path / "odd.safetensors", tensors | {"surprise": normal(rng, 3)})
    stdout = run("lora", path)[1]
    assert stdout[stdout.index("odd:\n") :] == (
        f"odd:\n  {STEMS[1]} has down without up\n  1 tensor that no LoRA has (surprise)\n"
    )
    assert "loadable    no\n              1 module is damaged\n" in stdout
    assert json.loads(run("lora", path, "--json")[1])["warnings"] == [
        f"{STEMS[1]} has down without up",
        "1 tensor that no LoRA has",
    ]


def test_two_adapters(tmp_path):
    """Of a file with two adapters both are named, and --adapter reads one of them."""
    rng = np.random.default_rng(53)
    ends = {"lora_A": (RANK, 11), "lora_B": (13, RANK)}
    tensors = {
        f"unet.x.{end}.{name}.weight": normal(rng, *ends[end])
        for end in ends
        for name in ("eyes", "style")
    }
    path = write(tmp_path / "two.safetensors", tensors)
    told = "the file holds 2 adapters (eyes, style)"
    answer = json.loads(run("lora", path, "--json")[1])
    assert answer["format"]["reasons"] == [f"{told}: choose one, as in FILE:adapter=style"]
    assert (answer["warnings"], len(answer["modules"])) == ([told], 2)
    answer = json.loads(run("lora", path, "--adapter", "eyes", "--json")[1])
    assert (answer["format"]["loadable"], [item["name"] for item in answer["modules"]]) == (
        None,
        ["unet.x"],
    )
    assert run("lora", path, "--adapter", "hat") == (
        1,
        "",
        f"Error: {path} has no adapter 'hat'; its adapters: eyes, style\n",
    )


def test_the_folder_of_peft(tmp_path):
    """A folder is read with its configuration, whose digest the report has."""
    rng = np.random.default_rng(59)
    ends = {"lora_A": (RANK, 11), "lora_B": (13, RANK)}
    stem = "base_model.model.x"
    tensors = {f"{stem}.{end}.weight": normal(rng, *ends[end]) for end in ends}
    write(tmp_path / "adapter_model.safetensors", tensors)
    config = b'{"lora_alpha": 2}'
    (tmp_path / "adapter_config.json").write_bytes(config)
    code, stdout, _ = run("lora", tmp_path)
    assert code == 0
    assert "\nscale                   0.4\n" in stdout
    assert f"\nof adapter_config.json  {sha256(config).hexdigest()}\n" in stdout


def test_without_a_chart(tmp_path):
    """A file of which no norm is known has tables and no chart, and a warning says why."""
    tensors = {f"{STEMS[0]}.oft_blocks": normal(np.random.default_rng(47), 2, 3, 3)}
    path = write(tmp_path / "oft.safetensors", tensors)
    answer = json.loads(run("lora", path, "-o", tmp_path / "found", "--json")[1])
    assert answer["files"] == ["modules.csv", "blocks.csv", "lora.json"]
    assert "there is no chart: the norm of no module is known" in answer["warnings"]


def test_a_model_is_no_lora(tmp_path):
    """A checkpoint is refused by what it is, with what to do."""
    path = write(tmp_path / "vae.safetensors", {"decoder.conv_in.weight": np.zeros((3, 4, 3, 3)),
                 "decoder.mid.block_1.conv1.weight": np.zeros((3, 3))})  # fmt: skip
    assert run("lora", path) == (
        1,
        "",
        f"Error: {path} holds no LoRA: this is a VAE of 4 latent channels, as SD1.x and SDXL have. "
        "Give the file of a LoRA; a model to compare it with goes to --model\n",
    )


def test_usage(file):
    """A missing argument is exit 2; a missing or unusable model is exit 1 and names the choices."""
    assert run("lora")[0] == 2
    assert run("lora", file, "--model", "nowhere") == (
        1,
        "",
        "Error: no model at nowhere: expected a diffusers folder, a .safetensors file, demo, or "
        "the hub id of a model that was downloaded before\n",
    )
    code, _, stderr = run("lora", file, "--model", "demo")
    assert (code, stderr) == (
        1,
        "Error: the family of cat.safetensors is unknown, with the blocks of a UNet: name the "
        "model, not 'demo'\n",
    )
    code, _, stderr = run("lora", file, "--model", file)
    assert (code, stderr.split(" holds ")[1][:40]) == (
        1,
        "no denoiser and no text encoder: expecte",
    )


def test_a_model_of_the_hub_is_not_downloaded(file, monkeypatch):
    """A hub id that is not on this machine is refused without a network call."""
    import socket

    def refuse(*arguments):
        raise AssertionError("network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert run("lora", file, "-m", "nobody/nothing-at-all")[0] == 1


@pytest.fixture
def model(changes, tmp_path):
    """A diffusers folder with the layers that the file changes, one of them of another shape."""
    rng = np.random.default_rng(53)
    inside = "down_blocks.1.attentions.0.transformer_blocks.0"
    (tmp_path / "model" / "unet").mkdir(parents=True)
    weights = {f"{inside}.attn1.to_q.weight": normal(rng, 13, 11),
               f"{inside}.attn2.to_k.weight": normal(rng, 13, 7)}  # fmt: skip
    write(tmp_path / "model" / "unet" / "model.safetensors", weights)
    return tmp_path / "model", np.linalg.norm(weights[f"{inside}.attn1.to_q.weight"])


def test_relative(file, changes, model):
    """With --model the report has norms relative to the weights, and lists what does not fit."""
    folder, norm = model
    code, stdout, _ = run("lora", file, "--model", folder, "--out", "found")
    relative = np.linalg.norm(changes[STEMS[0]].change) / norm
    assert code == 0
    assert f"  {100 * relative:.3g} %\n" in stdout
    assert f"compared    {folder}\n" in stdout
    assert stdout[stdout.index("odd:\n") : stdout.index("\nfound\n")] == (
        f"odd:\n  1 module without a base weight: the weight has another shape ({STEMS[1]})\n"
        f"  1 module without a base weight: the model has no text_encoder ({STEMS[2]})\n"
    )


def test_some_modules():
    """Behind an `@` are the modules whose norms are told, all others are left out."""
    code, stdout, _ = run("lora", "demo@up.1,!*to_v", "--json")
    answer = json.loads(stdout)
    assert (code, answer["file"]["modules"]) == (0, ["up.1", "!*to_v"])
    names = [row["name"] for row in answer["modules"]]
    assert names
    assert all("up_blocks_1_" in name and "to_v" not in name for name in names)
    code, _, stderr = run("lora", "demo@up.9")
    assert code == 1
    assert "no module of the LoRA matches 'up.9'; near it are up." in stderr
