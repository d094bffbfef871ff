"""Workers that cannot be had are refused before anything is written."""

import pytest

from attn.errors import RequestError
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
