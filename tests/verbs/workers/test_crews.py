"""Workers that cannot be had are refused before anything is written."""

import subprocess

import pytest

from attn.errors import RequestError, UsageError
from attn.studio import child
from attn.verbs.capture.options import CaptureOptions
from attn.verbs.workers import local
from attn.verbs.workers.work import BatchAnswer, BatchMember, BatchMembers, decode, encode
from tests.helpers.toy_runs import capture_fake, use_fake

MANY = "cuda:99' cannot be used: this machine has "


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cpu,cuda:99", MANY),
        ("cuda:99,cuda:99", MANY),
        ("cpu,elsewhere", "device 'elsewhere' cannot be used: "),
    ],
)
def test_devices_that_are_not_there(tmp_path, monkeypatch, device, message):
    """More GPUs than there are, or none by that name: nothing is left of the run."""
    use_fake(monkeypatch.setattr)
    with pytest.raises(RequestError, match=message):
        capture_fake(tmp_path / "run", ["a cat", "a dog"], device=device)
    assert not (tmp_path / "run").exists()


def test_what_crosses_may_have_odd_names():
    """Names of folders that are no UTF-8 reach a worker, and its answer reaches the driver."""
    members = (BatchMember(3, "bad\udcff\n", None, True),)
    answer = BatchAnswer({3: None, 5: "bad\udcff"}, (("told", "bad\udcff"),))
    assert decode(encode(members), BatchMembers) == members
    assert decode(encode(answer), BatchAnswer) == answer
    assert b"\n" not in encode(members)


@pytest.mark.parametrize("command", [local.COMMAND, child.COMMAND])
def test_no_code_of_the_working_folder_runs(command, tmp_path):
    """A module that lies in the folder of others' traces is not taken for a library."""
    (tmp_path / "msgspec.py").write_text("open('ran', 'w')\n")
    subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, check=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus_per_worker": 0.5}, "gpus_per_worker: this is of --engine ray; local workers share"),
        ({"engine": "ray", "device": "cuda:0,cuda:1"}, "device: expected one for --engine ray, wh"),
    ],
)
def test_options_of_the_other_engine(options, message):
    """An option that the engine would not read is refused, and not left aside."""
    with pytest.raises(UsageError, match=message):
        CaptureOptions("sd15", **options)
