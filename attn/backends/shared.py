"""What the built-in families share, for backends of other packages too: a public interface.

Import it where torch may be imported, that is, in what `BackendSpec.load` imports.
"""

from __future__ import annotations

from attn.backends._devices import align, choose_device, choose_dtype, count_parameters, dtype_name
from attn.backends._encoders import Encoder, labels_checked, unknown_tokens
from attn.backends._finite import finite_pictures
from attn.backends._load import load_network, load_tokenizer
from attn.backends._quiet import quiet
from attn.backends._source import Source, fingerprint, read_index, resolve
from attn.backends._tokens import decode

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
