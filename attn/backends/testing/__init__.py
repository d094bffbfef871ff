"""A backend without a model to load, and the checks that every backend must pass.

    from attn.backends.testing import CHECKS, FakeBackend, FakeOptions, check_backend

`FakeBackend` is a real, tiny, randomly weighted model with every irregularity of the interface.

    checks                     all checks, and what runs them
    attention, rows            that probabilities are exact, and rows what they are called
    text, text_order           that tokens, words and positions are those that the model reads
    events, observe            what happens without capture; a session run as a capture does
    oracle                     every measure by its definition, in float64, by numpy alone
    fake, toy, tokens          the backend, its model, its tokenizer
"""

from attn.backends.testing.attention import attention_exact
from attn.backends.testing.checks import (
    CHECKS,
    Check,
    attention_declared,
    calls_ordered,
    check_backend,
    model_restored,
    outputs_identical,
    size_not_square,
    towers_exist,
)
from attn.backends.testing.fake import FakeBackend, FakeOptions, FakeSession
from attn.backends.testing.observe import ConformanceError
from attn.backends.testing.rows import rows_labelled
from attn.backends.testing.text import tokens_spanned
from attn.backends.testing.text_order import text_placed

__all__ = [
    "CHECKS",
    "Check",
    "ConformanceError",
    "FakeBackend",
    "FakeOptions",
    "FakeSession",
    "attention_declared",
    "attention_exact",
    "calls_ordered",
    "check_backend",
    "model_restored",
    "outputs_identical",
    "rows_labelled",
    "size_not_square",
    "text_placed",
    "tokens_spanned",
    "towers_exist",
]
