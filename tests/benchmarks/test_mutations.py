"""A seeded sample of the campaign of changed files."""

from benchmarks.campaign import mutations


def test_changed_files() -> None:
    """Whatever is done to a file, each command ends soon, in an answer or an expected error."""
    result = mutations.run(sample=40, seed=20)
    assert result["files"] == 40
    assert result["refused"] > 10
    assert result["slowest ms"] < 1000 * mutations.LONGEST
