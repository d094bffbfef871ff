"""A seeded sample of the campaign of changed files."""

from benchmarks.campaign import mutations


def test_changed_files() -> None:
    """Whatever is done to a file, each command ends soon, in an answer or an expected error."""
    found = mutations.run(sample=80, seed=20)
    assert found["files"] == 80
    assert found["refused"] > 20
    assert found["slowest ms"] < 1000 * mutations.LONGEST
