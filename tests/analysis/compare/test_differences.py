"""What sets two generations apart, as it is told."""

from dataclasses import replace

from attn.analysis.compare.differences import find_differences, list_differences
from attn.schema import Lora
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


def test_random_weights():
    """A control is told in words: nobody who reads a heading knows `null=0`."""
    base = manifest()
    variant = replace(
        base, request=replace(base.request, loras=(Lora("a.safetensors", 1.0, null=0),))
    )
    told = list_differences(find_differences(base, variant))
    assert told == "LoRA a none → random weights of its size (null=0)"
