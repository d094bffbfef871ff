"""`attn capture`: whole outputs, exit codes, and the command as it is typed."""

import html
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

import attn
from attn import demo
from attn.backends.families.sd35 import SD35Session
from attn.cli import build
from attn.cli.report import ShownReport
from attn.errors import CaptureError
from tests.helpers.models import lora_demo

pytestmark = pytest.mark.usefixtures("undrawn")
ROOT = Path(attn.__file__).parents[1]
SMALL = ("--steps", "2", "--size", "96x64")
DEMO = "model: the built-in demo (tiny and untrained: real attention, random weights)\n"
TRAINED = f"model: the built-in demo ({demo.TRAINED})\n"  # in a process of its own
EXAMPLE = "prompt: a red square left of a purple triangle on a white background\n"


@pytest.fixture
def run(demo_cache, tmp_path, monkeypatch):
    """Run `attn capture -b sd35` in an empty folder; return exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("attn.cli.report.LINE_SECONDS", 600.0)  # however slow the machine is

    def capture(*arguments, size=SMALL):
        pairs = zip(size[::2], size[1::2], strict=True)
        usual = [word for pair in pairs if pair[0] not in arguments for word in pair]
        result = CliRunner().invoke(build(), ["capture", "-b", "sd35", *usual, *arguments])
        return result.exit_code, result.stdout, normal(result.stderr)

    return capture


def normal(text):
    """Replace seconds, which differ from run to run."""
    return re.sub(r"\d+\.\d\d s/step", "N s/step", text)


def test_success(run):
    """Notes and progress go to stderr, plain without a terminal; the result to stdout."""
    stderr = f"{DEMO}{EXAMPLE}step 1/2 · … · 55.3 kB\nstep 2/2 · N s/step · 110.7 kB\n"
    assert run("-o", "out") == (0, "1 trace in out\n", stderr)
    assert attn.open("out").manifest.status == "complete"


def test_collection(run):
    """Several prompts and seeds are counted; the note on the example prompt is gone."""
    code, stdout, stderr = run("-o", "out", "-p", "a cat", "-p", "a dog", "--seed", "3,5")
    assert (code, stdout) == (0, "4 traces in out\n")
    assert stderr == f"{DEMO}step 1/8 · … · 45.7 kB\nstep 8/8 · N s/step · 365.9 kB\n"


def test_lora(run, opened):
    """LoRAs are typed as files with scales; what does not fit is one line on stderr."""
    pipe = opened("sd35", "demo").pipe
    pairs = lora_demo.changes(pipe, "transformer")
    lora_demo.peft(Path("b.safetensors"), pairs)
    pairs["transformer", "proj_in"] = lora_demo.Pair(*np.ones((2, 7, 7)))
    lora_demo.kohya(Path("a.safetensors"), pairs)
    given = ("--lora", "b.safetensors", "--lora", "a.safetensors:0.5")
    code, stdout, stderr = run("-o", "out", "--dtype", "bfloat16", *given)
    assert (code, stdout) == (0, "1 trace in out\n")
    warned = "lora_unet_proj_in (the denoiser has no such module); they are left out\n"
    total = 3 * len(pairs)
    begins = f"{DEMO}{EXAMPLE}Warning: a.safetensors: 3 of its {total} tensors fit nothing: "
    assert stderr.startswith(begins + warned)
    loras = attn.open("out").manifest.request.loras
    assert sorted((lora.path, lora.scale) for lora in loras) == [
        ("a.safetensors", 0.5),
        ("b.safetensors", 1.0),
    ]


def test_nonsense_for_a_lora(run):
    """A sweep is wrong usage here; a file that is not there is an error."""
    said = "Error: lora: one scale for each file; got 2 for a.safetensors (a sweep over scales is "
    code, stdout, stderr = run("--lora", "a.safetensors:0,1")
    assert (code, stdout) == (2, "")
    assert stderr.startswith(said)
    said = "Error: cannot read a.safetensors:x: the file or its folder does not exist. Check the "
    code, stdout, stderr = run("--lora", "a.safetensors:x")
    assert (code, stdout) == (1, "")
    assert stderr.startswith(f"{DEMO}{EXAMPLE}{said}")


def test_dry_run(run):
    """A dry run shows what would be kept of which layers, and its bytes."""
    layers = "".join(
        f"     {i}  transformer_blocks.{i}.attn  joint, 3 heads, grid 4x6, 357 keys\n"
        for i in range(5)
    )
    stdout = f"""\
2 traces of 2 steps, 1 sample, branch cond and uncond
keep maps, keys content, blocks image.text
5 layers:
{layers}one trace: 215.9 kB; in all 431.9 kB
"""
    assert run("--dry-run", "--seed", "0-1", "--branch", "both") == (0, stdout, DEMO + EXAMPLE)
    assert list(Path().iterdir()) == []


def test_dry_run_of_factors(run):
    """For factors the plan shows both sizes, which say whether they pay."""
    stdout = """\
1 trace of 2 steps, 3 samples, branch cond
keep factors, keys all, blocks all.text
1 layer:
     2  transformer_blocks.2.attn  joint, 3 heads, grid 4x6, 357 keys
one trace: 2.3 MB; in all 2.3 MB
all probabilities of these layers as float16: 4.6 MB a trace; factors pay where there are more \
than two keys per channel of a head
"""
    arguments = ("--keep", "factors", "--keys", "all", "--blocks", "all.text", "--layers", "2")
    assert run("--dry-run", *arguments, "--images", "3") == (0, stdout, DEMO + EXAMPLE)


def test_json(run):
    """With --json stdout is one object."""
    code, stdout, stderr = run("-o", "out", "--json", "-p", "cat " * 76)
    warning = "the prompt is longer than the model's 'clip' text; not read: \"cat\""
    assert code == 0
    assert json.loads(stdout) == {
        "command": "capture",
        "status": "complete",
        "path": "out",
        "warnings": [warning],
        "predicted_bytes": json.loads(stdout)["predicted_bytes"],
        "traces": [{"folder": ".", "status": "complete", "seed": 0, "error": None}],
        "answers": {},
        "pictures": [],
    }
    assert stdout.count("\n") == 1
    assert stderr.startswith(f"{DEMO}Warning: {warning}\nstep 1/2 · … · ")


def test_json_of_a_dry_run(run):
    """Also of what was only planned."""
    _, stdout, _ = run("-o", "out", "--json", "--dry-run")
    answer = json.loads(stdout)
    assert (answer["status"], answer["predicted_bytes"]) == ("planned", 110_688)
    assert [item["status"] for item in answer["traces"]] == ["pending"]


def test_analyze(run):
    """With --analyze the paragraph is told, and the report and the pictures are named."""
    code, stdout, _ = run("-o", "out", "--analyze", "-p", "red cat")
    maps = [f"heatmaps/words{rest}" for rest in ("", "-own-scale", "/000-red", "/001-cat")]
    grids = ("grid_analysis_4x4", "grid_analysis_8x8")
    parts = ("pixel_dominant_tokens", *grids, "token_attention_distribution")
    names = [*maps, *(f"base_analysis/{name}" for name in parts)]
    pictures = [
        f"out/analysis/{segment}/{name}.png" for segment in ("clip", "t5") for name in names
    ]
    pictures += [f"out/analysis/{segment}/curves/words.png" for segment in ("clip", "t5")]
    sinks = ("layer_head_heatmap", "timestep_curve", "roles")
    pictures += [f"out/analysis/sinks/{name}.png" for name in sinks]
    assert code == 0
    told, _, named = stdout.partition("report out/analysis/report.html\n")
    assert named == "".join(f"picture {item}\n" for item in pictures)
    assert told.startswith("1 trace in out\nOf the text of clip, “")
    page = html.unescape(Path("out/analysis/report.html").read_text())
    assert all(sentence.strip() in page for sentence in " ".join(told.split("\n")[1:]).split(". "))
    assert all(Path(picture).is_file() for picture in pictures)


def test_analyze_a_collection(run):
    """Of many traces the page of all is named, their own pictures are counted."""
    code, stdout, stderr = run(
        "-o", "out", "--analyze", "--keep", "mass", "-p", "", "--seed", "0,1"
    )
    assert (code, stdout) == (
        0,
        "2 traces in out\n"
        "picture out/analysis/summary.png\n"
        "and 6 pictures in the folders of the traces\n",
    )
    assert "out/0000 and 1 more: 'words' is skipped" in stderr


def test_prompts_and_settings_from_the_command_line(run):
    """Prompts from a file, options of the family and of the run reach the model."""
    Path("prompts.txt").write_text("a cat\na dog\n")
    arguments = ("--prompts", "prompts.txt", "--negative", "blurry", "--guidance", "2.5")
    code, stdout, _ = run("-o", "out", *arguments, "--set", "t5_tokens=19", "--batch", "2")
    request = attn.open("out/0001").manifest.request
    assert (code, stdout) == (0, "2 traces in out\n")
    assert (request.prompt, request.negative, request.guidance) == ("a dog", "blurry", 2.5)
    assert request.options["t5_tokens"] == 19


USAGE = {
    "--size 3": "size: expected WIDTHxHEIGHT such as 1344x768; got '3'",
    "--seed x": "seeds: expected 0, 0-7 or 1,5,9; got 'x'",
    "-p a --prompts b.txt": "give --prompt or --prompts, not both",
    "--prompts b.txt": "cannot read b.txt: the file or its folder does not exist. Give a list of "
    "prompts in UTF-8.",
    "--set t5": "--set takes KEY=VALUE, got 't5'.",
    "-m x -p a --set skip=1": "backend sd35 has no option 'skip'. Did you mean 'skip_stop'? "
    "Options: vae, config, tokenizers, lora_text_encoder_scale, clip_l, dit, clip_g, t5xxl, "
    "t5_tokens, skip_layers, skip_scale, skip_start, skip_stop.",
    "-m x -p a --keys any": "keys: expected one of content, all; got 'any'",
    "-m x -p a --budget x": "budget: expected a size such as 8GB or 500MB; got 'x'",
    "-m x": "no prompt: give one with --prompt TEXT, or several with --prompts FILE",
}
ERRORS = {
    "--branch uncond --guidance 1": "branch 'uncond' does not run in this generation; it has cond "
    "(guidance is off): turn it on with --guidance or ask for --branch cond",
    "--budget 50KB": "this capture would write 93.4 kB, more than the budget of 50.0 kB; keep less "
    "(--keep means, fewer --layers or --blocks, --keys content), or raise --budget",
    "--size 100x64": "size 100x64: width and height must be divisible by 16; the nearest is 96x64",
    "--set t5_tokens=0": "t5_tokens must be 1 to 512; got 0",
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.items(), ids=USAGE)
def test_usage(run, arguments, message):
    """What is typed wrongly exits with 2 and one message, and writes nothing."""
    assert run("-o", "out", *arguments.split()) == (2, "", f"Error: {message}\n")
    assert not Path("out").exists()


@pytest.mark.parametrize("arguments", [("--steps", "two"), ("--bogus",), ("--images", "2.5")])
def test_usage_of_typer(run, arguments):
    """What the parser itself refuses exits with 2 as well."""
    code, stdout, stderr = run(*arguments)
    assert (code, stdout) == (2, "")
    assert arguments[0] in stderr


@pytest.mark.parametrize(("arguments", "message"), ERRORS.items(), ids=ERRORS)
def test_errors(run, arguments, message):
    """What cannot be done exits with 1 and one message, without a traceback."""
    expected = (1, "", f"{DEMO}Error: {message}\n")
    assert run("-o", "out", "-p", "a red cat", *arguments.split()) == expected
    assert not Path("out").exists()


def test_folder_in_use(run):
    """A folder with anything in it is left alone."""
    Path("out").mkdir()
    Path("out/mine").touch()
    message = "Error: out is not empty; choose another folder with --out, or remove it\n"
    assert run("-o", "out") == (1, "", message)


def test_failed_trace(run, monkeypatch):
    """A collection with a failed trace exits with 1, names it, and keeps the others."""
    generate = SD35Session.generate

    def fail(session, requests, on_call):
        if requests[0].seed == 1:
            raise CaptureError("the dog ate it")
        return generate(session, requests, on_call)

    monkeypatch.setattr(SD35Session, "generate", fail)
    code, stdout, stderr = run("-o", "out", "-p", "a cat", "--seed", "0-2")
    assert (code, stdout) == (1, "3 traces in out\n")
    assert stderr.endswith(
        "\nfailed: 0001 ('a cat', seed 1): the dog ate it\n"
        "1 of 3 traces failed; the others are complete. The reasons are in out/index.json; "
        "--resume tries these again\n"
    )
    assert attn.open("out/0002").manifest.status == "complete"


def test_failed_trace_as_json(run, monkeypatch):
    """With --json the failure is in the object, which is still the only thing on stdout."""

    def fail(session, requests, on_call):
        raise CaptureError("the dog ate it")

    monkeypatch.setattr(SD35Session, "generate", fail)
    code, stdout, _ = run("-o", "out", "--seed", "0-1", "--json")
    answer = json.loads(stdout)
    assert (code, answer["status"]) == (1, "failed")
    assert [item["error"] for item in answer["traces"]] == ["the dog ate it"] * 2


def test_interrupt(run, monkeypatch):
    """Ctrl-C exits with 130 and one line, or an object that says where the rest is."""

    def press(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(ShownReport, "progress", press)
    line = "interrupted; what was finished stays usable\n"
    assert run("-o", "out") == (130, "", DEMO + EXAMPLE + line)
    assert attn.open("out").manifest.status == "partial"
    code, stdout, _ = run("-o", "out", "--resume", "--json")
    answer = json.loads(stdout)
    assert (code, answer["status"], answer["path"]) == (130, "interrupted", "out")


def test_progress_is_rare_without_a_terminal(capsys, monkeypatch):
    """Between first and last step a line comes at most every few seconds."""
    now = [100.0]
    monkeypatch.setattr("attn.cli.report.time.monotonic", lambda: now[0])
    report = ShownReport(SimpleNamespace(meta={}))
    for step in range(1, 9):
        report.progress(step, 8, step * 1000)
        now[0] += 2
    report.close()
    assert capsys.readouterr().err == (
        "step 1/8 · … · 1.0 kB\n"
        "step 4/8 · 2.00 s/step · 4.0 kB\n"
        "step 7/8 · 2.00 s/step · 7.0 kB\n"
        "step 8/8 · 2.00 s/step · 8.0 kB\n"
    )


def test_each_job_has_a_pace_of_its_own(capsys, monkeypatch):
    """Seconds per step are of the steps since the job's first one: of a variant, or resumed."""
    now = [100.0]
    monkeypatch.setattr("attn.cli.report.time.monotonic", lambda: now[0])
    report = ShownReport(SimpleNamespace(meta={}))
    for step in (1, 2, 2, 3, 1, 2):
        report.progress(step, 3, 0)
        now[0] += 7
    paces = [line.split(" · ")[1] for line in capsys.readouterr().err.splitlines()]
    assert paces == ["…", "7.00 s/step", "…", "7.00 s/step", "…", "7.00 s/step"]


def test_warnings_are_shown_once(capsys):
    """The same warning of many traces is one line, and one entry."""
    report = ShownReport(SimpleNamespace(meta={}))
    for text in ("careful", "hot", "careful"):
        report.warn(text)
    assert capsys.readouterr().err == "Warning: careful\nWarning: hot\n"
    assert report.warnings == ["careful", "hot"]


def start(folder, *arguments):
    """Start `attn` as a process of its own in a folder."""
    # a test run in the background ignores Ctrl-C, and its children would inherit that
    return subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", "attn", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_interrupted_process(demo_cache, tmp_path):
    """A real Ctrl-C exits with 130 and one line, and leaves a partial trace that opens."""
    arguments = ("-b", "sd35", "--size", "96x64", "--steps", "900", "-o", "out")
    process = start(tmp_path, "capture", *arguments)
    shown = [process.stderr.readline() for _ in range(3)]
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert shown == [TRAINED, EXAMPLE, "step 1/900 · … · 59.5 kB\n"]
    assert stderr.splitlines()[-1] == "interrupted; what was finished stays usable"
    trace = attn.open(tmp_path / "out")
    assert trace.manifest.status == "partial"
    assert 1 <= len(trace.steps) < 900


@pytest.mark.slow
@pytest.mark.usefixtures("trained")
def test_exact_command(tmp_path, monkeypatch):
    """`attn capture --backend sd35`, typed exactly so, works without any further argument."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(build(), ["capture", "--backend", "sd35"])
    assert result.exit_code == 0
    (folder,) = (tmp_path / "attn-runs").iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}-sd35-a-red-square-left-of-a-purple-triangle-o", folder.name)
    assert result.stdout == f"1 trace in attn-runs/{folder.name}\n"
    assert re.fullmatch(
        re.escape(f"{TRAINED}{EXAMPLE}") + r"(step \d+/28 · \S+( s/step)? · \S+ [kM]B\n){2,}",
        result.stderr,
    )
    assert len(attn.open(folder).steps) == 28
