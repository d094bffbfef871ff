"""Messages that cannot steer a terminal."""

from attn.errors import DamagedError


def test_errors_are_spelled_out():
    """An error says what a file says without its escapes, once, and keeps its lines."""
    error = DamagedError("no shard '\x1b]0;x\x07\u202e'\nagain")
    assert str(error) == "no shard '\\u001b]0;x\\u0007\\u202e'\nagain"
    assert str(DamagedError(str(error))) == str(error)
