"""Which architectures `attn.tap` captures: tiny models with random weights against references.

`python -m benchmarks.compatibility` writes docs/compatibility.md. Models of transformers are
compared with what they return themselves as `output_attentions`, eager, in float64; those of
diffusers with the softmax in float64 of what scaled_dot_product_attention was handed, or of the
logits of a softmax in the open. Capture must leave every output as it is, bit for bit.
"""

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch.nn import functional

import attn
from attn.engine.refuse import refuse_unobservable
from attn.errors import AttnError
from attn.trace.trace import Trace
from benchmarks.networks.diffusers_images import IMAGES
from benchmarks.networks.diffusers_models import build
from benchmarks.networks.diffusers_videos import OTHERS

PAGE = Path(__file__).parents[1] / "docs" / "compatibility.md"
TOLERANCE = 1e-3  # probabilities are kept as float16
HEADS, WIDTH = 6, 48
SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "intermediate_size": 20,
}
TEXT = {"vocab_size": 53, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GROUPED = {"num_key_value_heads": 3}
EXPERTS = {"moe_intermediate_size": 12, "num_experts": 4, "num_experts_per_tok": 2}
PICTURE = {"image_size": 24, "patch_size": 8}
SOUND = {"conv_dim": (13, 17), "conv_stride": (5, 4), "conv_kernel": (7, 3)}
SOUND |= {"num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4}
SOUND |= {"num_conv_pos_embedding_groups": 2}
PARTED = {"d_model": WIDTH, "encoder_layers": 2, "decoder_layers": 2}
PARTED |= {"encoder_attention_heads": HEADS, "decoder_attention_heads": HEADS}
PARTED |= {"encoder_ffn_dim": 20, "decoder_ffn_dim": 20, "decoder_start_token_id": 2}
T5 = {"d_model": WIDTH, "d_kv": 8, "d_ff": 20, "num_layers": 2, "num_heads": HEADS}
IDS = torch.tensor([[3, 5, 7, 11, 13, 17, 19], [23, 29, 31, 37, 41, 43, 47]])

TRANSFORMERS = {
    "decoder": {
        "llama": SIZES | TEXT | GROUPED,
        "mistral": SIZES | TEXT | GROUPED | {"sliding_window": 3},
        "qwen2": SIZES | TEXT | GROUPED,
        "qwen3": SIZES | TEXT | GROUPED | {"head_dim": 10},
        "qwen3_moe": SIZES | TEXT | GROUPED | EXPERTS | {"head_dim": 10},
        "gemma": SIZES | TEXT | GROUPED | {"head_dim": 10},
        "gemma2": SIZES | TEXT | GROUPED | {"head_dim": 10, "sliding_window": 3},
        "phi": SIZES | TEXT,
        "gpt2": {"n_embd": WIDTH, "n_head": HEADS, "n_layer": 2} | TEXT,
        "gpt_neox": SIZES | TEXT,
        "gptj": {"n_embd": WIDTH, "n_head": HEADS, "n_layer": 2, "rotary_dim": 4} | TEXT,
        "bloom": {"hidden_size": WIDTH, "n_head": HEADS, "n_layer": 2} | TEXT,
        "opt": SIZES | TEXT | {"ffn_dim": 20, "word_embed_proj_dim": WIDTH},
        "olmo2": SIZES | TEXT | GROUPED,
        "cohere": SIZES | TEXT | GROUPED,
        "gpt_oss": SIZES | TEXT | GROUPED | {"head_dim": 10, "num_local_experts": 4},
        "mamba": {"hidden_size": WIDTH, "num_hidden_layers": 2, "state_size": 5} | TEXT,
    },
    "encoder": {
        "bert": SIZES | TEXT,
        "roberta": SIZES | TEXT,
        "electra": SIZES | TEXT | {"embedding_size": 14},
        "distilbert": {"dim": WIDTH, "n_heads": HEADS, "n_layers": 2, "hidden_dim": 20} | TEXT,
        "albert": SIZES | TEXT | {"embedding_size": 14},
        "mpnet": SIZES | TEXT,
        "modernbert": SIZES | TEXT | {"cls_token_id": 1, "sep_token_id": 2},
        "deberta-v2": SIZES | TEXT,
        "clip_text_model": SIZES | TEXT,
    },
    "encoder-decoder": {
        "t5": T5 | TEXT | {"decoder_start_token_id": 2},
        "bart": PARTED | TEXT,
        "pegasus": PARTED | TEXT,
        "marian": PARTED | TEXT,
        "mbart": PARTED | TEXT,
    },
    "vision": {
        "vit": SIZES | PICTURE,
        "deit": SIZES | PICTURE,
        "dinov2": SIZES | PICTURE | {"mlp_ratio": 2},
        "beit": SIZES | PICTURE,
        "siglip_vision_model": SIZES | PICTURE,
        "clip_vision_model": SIZES | PICTURE,
        "swin": {"image_size": 32, "patch_size": 4, "embed_dim": 12, "depths": [2, 2]}
        | {"num_heads": [2, 3], "window_size": 4},
    },
    "audio": {
        "wav2vec2": SIZES | SOUND,
        "hubert": SIZES | SOUND,
        "unispeech": SIZES | SOUND,
        "audio-spectrogram-transformer": SIZES | {"max_length": 32, "num_mel_bins": 16},
    },
}

BACKENDS = """
## Attention backends of diffusers

What `attn.tap` and `attn capture` say of each, on a CPU, with a tiny `FluxTransformer2DModel`. What
was set of one model runs in every other that says nothing, also after `reset_attention_backend()`.

| backend | captured |
|---|---|
"""

DIFFUSERS = dict(sorted((IMAGES | OTHERS).items()))


@dataclass(frozen=True)
class Row:
    """What became of one architecture; `reason` says why it is not captured."""

    group: str
    name: str
    layers: int = 0
    reason: str = ""

    def __str__(self) -> str:
        """Return the row of the page."""
        result = f"{self.layers} layers" if not self.reason else f"no: {self.reason}"
        return f"| {self.group} | `{self.name}` | {result} |"


@contextmanager
def kernels_called() -> Iterator[list[np.ndarray]]:
    """Give what each kernel that is called within has to give, in float64.

    A kernel is a call of scaled_dot_product_attention, also by torch's own module of attention, or
    of a softmax of logits (row, head, query, key).
    """
    matrices: list[np.ndarray] = []
    fused, plain = functional.scaled_dot_product_attention, torch.softmax

    def note_fused(*args: Any, **options: Any) -> torch.Tensor:
        matrices.append(softmax(*args, **options))
        return fused(*args, **options)

    def note_plain(logits: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        if logits.ndim == 4:
            matrices.append(logits.double().softmax(-1).numpy())
        return plain(logits, *args, **options)

    with (
        patch.object(functional, "scaled_dot_product_attention", note_fused),
        patch.object(torch, "softmax", note_plain),
    ):
        yield matrices


def softmax(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0,
    is_causal: bool = False,
    **options: Any,
) -> np.ndarray:
    """Return the probabilities of a call, (row, head, query, key)."""
    scale = options.get("scale") or query.shape[-1] ** -0.5
    key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    logits = query.double() @ key.double().mT * scale
    if is_causal:
        hidden = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1)
        logits = logits.masked_fill(hidden, -torch.inf)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        logits = logits.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        logits = logits + attn_mask.double()
    return logits.softmax(-1).nan_to_num().numpy()


def inputs(group: str, kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what a tiny model of transformers is called with."""
    draw = torch.Generator().manual_seed(11)
    if group == "vision":
        size = settings["image_size"]
        return {"pixel_values": torch.randn(2, 3, size, size, generator=draw)}
    if kind == "audio-spectrogram-transformer":
        return {"input_values": torch.randn(2, 32, 16, generator=draw)}
    if group == "audio":
        return {"input_values": torch.randn(2, 401, generator=draw)}
    decoder = {"decoder_input_ids": IDS[:, :5]} if group == "encoder-decoder" else {}
    return {"input_ids": IDS, **decoder}


def expected(output: Any) -> list[np.ndarray]:
    """Return the attention that a model of transformers returns, in the order of its layers."""
    if getattr(output, "encoder_attentions", None) is None:
        return [layer.numpy() for layer in output.attentions or ()]
    pairs = zip(output.decoder_attentions, output.cross_attentions, strict=True)
    both = [layer for pair in pairs for layer in pair]
    return [layer.numpy() for layer in (*output.encoder_attentions, *both)]


def listen(model: Any, trace: Trace) -> list[np.ndarray]:
    """Return what modules of attention will return beside their output: some models drop most."""
    told: list[np.ndarray] = []

    def take(module: Any, args: Any, output: Any) -> None:
        if isinstance(output, tuple) and len(output) > 1 and output[1] is not None:
            told.append(output[1].numpy())

    for path in {layer.path.split("#")[0] for layer in trace.layers}:
        model.get_submodule(path).register_forward_hook(take)
    return told


def in_order(matrix: np.ndarray, samples: int, layer: Any) -> np.ndarray:
    """Return a reference as a trace has it: pieces of a picture as queries, a sink as a key."""
    if len(matrix) > samples:
        pieces = matrix.reshape(samples, -1, *matrix.shape[1:])
        matrix = np.moveaxis(pieces, 1, 2).reshape(samples, matrix.shape[1], -1, matrix.shape[-1])
    if layer.num_sinks:  # which models leave out: what a row lacks to 1
        matrix = np.insert(matrix, 0, 1 - matrix.sum(-1), -1)
    return matrix


def kernels(trace: Trace) -> list[tuple[Any, str]]:
    """Return each kernel of a trace: its layer, and its block where a layer has several."""
    return [
        (layer, block)
        for layer in trace.layers
        for block in (("all.all",) if "all.all" in layer.blocks else layer.blocks)
    ]


def compare(trace: Trace, matrices: list[np.ndarray]) -> str:
    """Return in what a trace differs from its reference; nothing if it does not."""
    seen = kernels(trace)
    if len(seen) != len(matrices):
        return f"{len(seen)} kernels seen, the reference has {len(matrices)}"
    for (layer, block), matrix in zip(seen, matrices, strict=True):
        laid = in_order(matrix, trace.manifest.samples, layer)
        for sample, probs in enumerate(laid):
            got = trace.probs(layer.index, 0, block, sample=sample).to_numpy()
            if got.shape != probs.shape:
                return f"layer {layer.index} has shape {got.shape}, the reference {probs.shape}"
            rows = np.where(probs.any(-1, keepdims=True), probs, np.nan)  # those with a key
            if not np.allclose(got, rows, atol=TOLERANCE, equal_nan=True):
                return f"layer {layer.index} differs from the reference"
    return ""


def first(output: Any) -> torch.Tensor:
    """Return the first tensor of a model's output."""
    while not isinstance(output, torch.Tensor):
        output = output[0]
    return output


def capture(model: Any, call: dict[str, Any]) -> Trace:
    """Return the trace of one forward.

    Raises:
        AssertionError: capture changed the output.
    """
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):  # as a tap computes it
        plain = first(model(**call))
        with attn.tap(model, keep="heads") as tapped:
            output = first(model(**call))
    assert torch.equal(plain, output)
    return tapped.trace


def try_transformers(group: str, kind: str) -> Row:
    """Check one architecture of transformers."""
    from transformers import AutoConfig, AutoModel

    settings = TRANSFORMERS[group][kind]

    def build(**more: Any) -> Any:
        torch.manual_seed(5)
        config = AutoConfig.for_model(kind, **settings, **more)
        config._experts_implementation = "eager"  # the other has no float64
        return AutoModel.from_config(config).eval()

    def check() -> tuple[Trace, list[np.ndarray]]:
        call = inputs(group, kind, settings)
        trace = capture(build(), call)
        wide = {
            name: value.double() if value.is_floating_point() else value
            for name, value in call.items()
        }
        model = build(attn_implementation="eager").double()
        told = listen(model, trace)
        with torch.no_grad():
            matrices = expected(model(**wide, output_attentions=True))
        return trace, matrices if len(matrices) >= len(trace.layers) else told

    return judge(group, kind, check)


def try_diffusers(name: str) -> Row:
    """Check one transformer of diffusers."""
    import diffusers

    def check() -> tuple[Trace, list[np.ndarray]]:
        model, call = build(getattr(diffusers, name), DIFFUSERS[name])
        trace = capture(model, call)
        with torch.no_grad(), kernels_called() as matrices:
            model(**call)
        return trace, matrices

    return judge("diffusers", name, check)


def judge(group: str, name: str, check: Callable[[], tuple[Trace, list[np.ndarray]]]) -> Row:
    """Return what became of a check."""
    try:
        trace, matrices = check()
    except AttnError as error:
        return Row(
            group, name, reason=str(error).split("; ")[0].split(": they")[0].replace("|", "\\|")
        )
    left_out = [text for text in trace.manifest.warnings if text.endswith("left out")]
    difference = left_out[0] if left_out else compare(trace, matrices)
    return Row(group, name, len(trace.layers), difference)


def all_diffusers() -> list[str]:
    """Return the names of all transformers of the installed diffusers."""
    from diffusers import ModelMixin
    from diffusers.models import transformers as package

    return sorted(
        name
        for name in dir(package)
        if "Transformer" in name or "DiT" in name
        if inspect.isclass(getattr(package, name))
        if issubclass(getattr(package, name), ModelMixin)
    )


def try_backend(name: str) -> str:
    """Return the row of one attention backend of diffusers."""
    from diffusers import FluxTransformer2DModel
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

    model, call = build(FluxTransformer2DModel, DIFFUSERS["FluxTransformer2DModel"])
    with patch.object(_AttentionBackendRegistry, "_active_backend", AttentionBackendName(name)):
        try:
            refuse_unobservable(model, "")
            result = f"{len(capture(model, call).layers)} layers"
        except AttnError as error:
            result = "no: " + str(error).partition(": ")[2].removesuffix(" before")
        except RuntimeError:
            result = "not tried: torch has this kernel of its own on GPUs only"
    return f"| `{name}` | {result} |"


def backend_names() -> list[str]:
    """Return the names of all attention backends of the installed diffusers."""
    from diffusers.models.attention_dispatch import AttentionBackendName

    return sorted(
        (backend.value for backend in AttentionBackendName), key=lambda name: name.strip("_")
    )


def page(rows: list[Row]) -> str:
    """Return the page of all rows."""
    import diffusers
    import transformers

    names = all_diffusers()
    untried = [name for name in names if name not in DIFFUSERS]
    captured = sum(not row.reason for row in rows)
    head = f"""# Which architectures are captured

What [`attn.tap`](python.md) was tried on: tiny models with random weights, whose attention was
compared with a reference and whose outputs had to stay the same bit for bit. Of transformers the
reference is `output_attentions` of the eager model in float64; of diffusers the softmax in float64
of what `scaled_dot_product_attention` was handed, or of the logits of a softmax in the open.
`python -m benchmarks.compatibility` writes this page; here with transformers
{transformers.__version__} and diffusers {diffusers.__version__}.
{captured} of {len(rows)} are captured.

| | architecture | captured |
|---|---|---|
"""
    table = "\n".join(map(str, rows))
    tried = f"Of the {len(names)} transformers of diffusers, {len(names) - len(untried)} were tried"
    lacking = f", not {', '.join(f'`{name}`' for name in untried)}" if untried else ""
    backends = "\n".join(map(try_backend, backend_names()))
    return f"{head}{table}\n\n{tried}{lacking}.\n{BACKENDS}{backends}\n"


def all_rows() -> list[Row]:
    """Check everything."""
    rows = [
        try_transformers(group, kind) for group, kinds in TRANSFORMERS.items() for kind in kinds
    ]
    return rows + [try_diffusers(name) for name in DIFFUSERS]


def main() -> None:
    """Write the page."""
    warnings.simplefilter("ignore")
    PAGE.write_text(page(all_rows()), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")


if __name__ == "__main__":
    main()
