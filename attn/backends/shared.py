"""What the built-in families share, for backends of other packages too: a public interface.

Import it where torch may be imported, that is, in what `BackendSpec.load` imports.
"""

from __future__ import annotations

from attn.backends.diffusers.finite import finite_pictures
from attn.backends.diffusers.texts.encoders import Encoder, labels_checked, unknown_tokens
from attn.backends.diffusers.texts.tokens import decode
from attn.backends.loading.devices import (
    align,
    choose_device,
    choose_dtype,
    count_parameters,
    dtype_name,
)
from attn.backends.loading.fingerprints import fingerprint
from attn.backends.loading.pipeline import load_network, load_tokenizer
from attn.backends.loading.quiet import quiet
from attn.backends.loading.source import Source, resolve
from attn.checkpoints.folders import read_index

__all__ = [
    "Encoder",
    "Source",
    "align",
    "choose_device",
    "choose_dtype",
    "count_parameters",
    "decode",
    "dtype_name",
    "fingerprint",
    "finite_pictures",
    "labels_checked",
    "load_network",
    "load_tokenizer",
    "quiet",
    "read_index",
    "resolve",
    "unknown_tokens",
]
