"""A tokenizer of transformers with one token for each of some words, made on the spot."""

import re

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
WORDS = re.findall(
    r"\w+",
    "the a red blue cat dog sat on mat ran away from big small house and or then it was very old "
    "new tree river bird sang loud at night day sun moon star sky rain snow wind fire ice sea sand",
)


def tokenizer():
    """Return it; 46 tokens, those of padding and its like first."""
    words = [*SPECIAL, *("Ġ" + word for word in WORDS)]
    inner = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>")
    )
    inner.pre_tokenizer = pre_tokenizers.Metaspace(replacement="Ġ")
    inner.decoder = decoders.Metaspace(replacement="Ġ")
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=inner, **names)
