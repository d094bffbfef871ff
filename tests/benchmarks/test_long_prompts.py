"""The benchmark of long prompts measures what it says."""

from attn.schema import find_words
from benchmarks.long_prompts import write_prompt


def test_prompts():
    """Prompts have as many words as asked, in sentences, and no two are alike."""
    prompts = [write_prompt(number, 71) for number in range(13)]
    assert {len(find_words(prompt)) for prompt in prompts} == {71}
    assert {prompt.count(".") for prompt in prompts} == {3}
    assert len(set(prompts)) == 13
