"""Small tokenizers that know one word list, in the libraries' own file formats."""

from __future__ import annotations

import string
from collections import Counter
from functools import cache
from itertools import pairwise

from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTokenizer,
    GemmaTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
    T5Tokenizer,
)

BLANK = "Ġ"
"""How byte-level tokenizers write a space."""
CLIP_LENGTH = 77
T5_LENGTH = 512

# Log-probabilities of Unigram pieces: a whole word beats a word inside a word beats characters.
WORD_SCORE = -3.0
BLANK_SCORE = -5.0
INNER_SCORE = -6.0
CHARACTER_SCORE = -12.0

_WORD_LIST = """
a an the of in on at with and or by for from to into over under near behind beside between is are
above below left right front top bottom middle background foreground shape shapes two three four
circle square triangle star cross ring diamond heart hexagon line stripe dot
red green blue yellow orange purple pink cyan black white gray brown gold silver bright dark
photo photograph picture image painting drawing sketch illustration portrait landscape closeup
oil watercolor pencil digital anime realistic cinematic detailed beautiful style art
high low quality blurry bad ugly deformed text watermark
cat dog bird horse fish frog tiger lion elephant giraffe rabbit monkey bear fox wolf owl parrot
man woman boy girl child people person king queen knight wizard astronaut robot
small big large tiny huge old young new rusty wooden metal glass stone fluffy furry shiny
sitting standing running walking flying jumping sleeping eating holding riding wearing playing
house barn castle tower bridge street city town village forest mountain river lake sea ocean beach
desert garden park field sky cloud sun moon snow rain tree grass leaf flower rose
car bicycle bike truck bus train boat ship plane rocket chair table bed sofa lamp window door book
cup plate bowl bottle vase clock umbrella hat shirt shoes sign ball
apple banana pizza cake bread cheese coffee tea hello world reads that one
"""
WORDS: tuple[str, ...] = tuple(dict.fromkeys(_WORD_LIST.split()))

BEGIN, END, MASK = "<|startoftext|>", "<|endoftext|>", "<|mdm_mask|>"
ROLE, ROLE_END, TURN_END = "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    f"{ROLE}{{{{ message['role'] }}}}{ROLE_END}\n{{{{ message['content'] | trim }}}}{TURN_END}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{ROLE}assistant{ROLE_END}\n{{% endif %}}"
)
"""What LLaDA and MMaDA make of a conversation."""


QWEN_ROLES = ("system", "user", "assistant", "think", "ĊĊ")
"""What Qwen's templates are made of; the last is two ends of lines."""
QWEN_TURN, QWEN_TURN_END, QWEN_END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
QWEN_TEMPLATE = (
    "{% for message in messages %}"
    f"{QWEN_TURN}{{{{ message.role }}}}\n{{{{ message.content }}}}{QWEN_TURN_END}\n"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{QWEN_TURN}assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}"
)
"""What Qwen3 makes of a conversation without tools, of which nobody has thought yet."""

QWEN_SYSTEM = (
    "Describe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:"
)
"""What Qwen-Image tells its text encoder to do with every prompt."""


def clip_tokenizer(*, pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """Build a CLIP tokenizer of 77 positions in which each of `WORDS` is one token.

    Args:
        pad: padding token; SDXL's and SD3's second tokenizer pad with "!", id 0.
    """
    ids, merges = _clip_vocabulary()
    return CLIPTokenizer(
        vocab=ids,
        merges=merges,  # type: ignore[arg-type]  # annotated as strings, taken as pairs
        pad_token=pad,
        model_max_length=CLIP_LENGTH,
    )


def t5_tokenizer() -> T5Tokenizer:
    """Build a T5 tokenizer in which each of `WORDS` is one piece and other ASCII is spelled out.

    Case counts, as in the real T5; characters outside ASCII become the unknown token.
    """
    pieces = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, "▁": BLANK_SCORE}
    pieces |= {"▁" + word: WORD_SCORE for word in WORDS}
    pieces |= {word: INNER_SCORE for word in WORDS if len(word) > 1}
    characters = string.ascii_letters + string.digits + string.punctuation
    pieces |= dict.fromkeys(characters, CHARACTER_SCORE)
    return T5Tokenizer(vocab=list(pieces.items()), extra_ids=0, model_max_length=T5_LENGTH)


def chat_tokenizer(words: tuple[str, ...] = WORDS) -> PreTrainedTokenizerFast:
    """Build a byte-level tokenizer with the special tokens of LLaDA, and its chat template.

    Args:
        words: each is one token, with a space before it and without; all else is spelled in bytes.
    """
    ids, merges = _byte_vocabulary(words, (BEGIN, END, MASK, ROLE, ROLE_END, TURN_END))
    reader = Tokenizer(BPE(vocab=ids, merges=merges))
    reader.pre_tokenizer = ByteLevel(add_prefix_space=False)
    reader.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=reader,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=END,
        mask_token=MASK,
        additional_special_tokens=[ROLE, ROLE_END, TURN_END],
        chat_template=CHAT_TEMPLATE,
    )


def qwen_tokenizer(words: tuple[str, ...] = ()) -> Qwen2Tokenizer:
    """Build a tokenizer of Qwen2 and later, with the special tokens and chat template of Qwen3.

    Args:
        words: further ones that are one token each.
    """
    specials = (QWEN_END, QWEN_TURN, QWEN_TURN_END)
    ids, merges = _byte_vocabulary((*WORDS, *QWEN_ROLES, *words), specials)
    tokenizer = Qwen2Tokenizer(
        vocab=ids,
        merges=merges,  # type: ignore[arg-type]  # annotated as strings, taken as pairs
        additional_special_tokens=[QWEN_TURN, QWEN_TURN_END],
        chat_template=QWEN_TEMPLATE,
    )
    tokenizer.add_tokens(["<think>", "</think>"])  # which are no special tokens
    return tokenizer


def gemma_tokenizer() -> GemmaTokenizer:
    """Build a tokenizer of Gemma in which each of `WORDS` is one token, its space included.

    Other ASCII is spelled out; other characters are bytes.
    """
    merges = _learn_merges([[*piece] for word in WORDS for piece in (word, f"▁{word}")])
    characters = ["▁", "\n", *string.ascii_letters, *string.digits, *string.punctuation]
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    tokens += [*(f"<0x{byte:02X}>" for byte in range(256)), *characters]
    tokens += [left + right for left, right in merges]
    return GemmaTokenizer(
        vocab={token: index for index, token in enumerate(dict.fromkeys(tokens))},
        merges=merges,  # type: ignore[arg-type]  # annotated as strings, taken as pairs
        add_bos_token=True,
    )


@cache
def _byte_vocabulary(
    words: tuple[str, ...], specials: tuple[str, ...]
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Number the tokens: bytes, merges, specials."""
    merges = _learn_merges([[*piece] for word in words for piece in (word, f"{BLANK}{word}")])
    tokens = [*sorted(ByteLevel.alphabet()), *(left + right for left, right in merges), *specials]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}, merges


@cache
def _clip_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Number the tokens as CLIP does: "!" is id 0, bytes, bytes ending a word, merges, bos, eos."""
    merges = _learn_merges([[*word[:-1], word[-1] + "</w>"] for word in WORDS])
    alphabet = sorted(ByteLevel.alphabet(), key=lambda character: (character != "!", character))
    tokens = [*alphabet, *(character + "</w>" for character in alphabet)]
    tokens += [left + right for left, right in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}, merges


def _learn_merges(sequences: list[list[str]]) -> list[tuple[str, str]]:
    """Merge the most frequent pair, ties in alphabetical order, until each sequence is one token.

    `tokenizers.trainers.BpeTrainer` breaks ties differently from process to process.
    """
    merges: list[tuple[str, str]] = []
    while counts := Counter(pair for sequence in sequences for pair in pairwise(sequence)):
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        sequences = [_merge(sequence, best) for sequence in sequences if len(sequence) > 1]
    return merges


def _merge(sequence: list[str], pair: tuple[str, str]) -> list[str]:
    """Join every occurrence of `pair` in `sequence`, from the left."""
    merged: list[str] = []
    for symbol in sequence:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged
