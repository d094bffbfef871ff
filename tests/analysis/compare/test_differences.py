"""What sets two generations apart, as it is told."""

from dataclasses import replace

from attn.analysis.compare.differences import find_differences, list_differences
from tests.helpers.toy_traces import manifest


def drawn(**options):
    """Return the manifest of a generation with these options."""
    about = manifest()
    return replace(about, request=replace(about.request, options=options))


def test_checksum_of_a_file():
    """A drawing is told by its name and the first digits of its checksum, not by all of them."""
    bases = drawn(sketch="none")
    variant = drawn(sketch="dir/drawing.png", sketch_sha256="c5b268ba" + 56 * "0")
    told = list_differences(find_differences(bases, variant))
    assert told == "sketch none → drawing.png (c5b268ba)"
