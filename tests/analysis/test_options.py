"""Options of analyses: none is accepted and ignored."""

from dataclasses import fields, replace

import numpy as np
import pytest
from PIL import Image

from attn.analysis.registry import ANALYSES, find
from attn.errors import AnalysisError
from attn.schema import SKETCH, Gate
from attn.trace.store import shard_file
from attn.trace.trace import open_trace
from tests.helpers import sketches
from tests.helpers.editing import edit
from tests.helpers.toy_probs import make_full, make_related
from tests.helpers.toy_texts import make_text
from tests.helpers.toy_traces import JOINT, VIDEO, make_trace, manifest, tensors, write_trace

OTHER = {
    "dominance": "mass",
    "words": ("cat",),
    "phrases": ("a bobcat",),
    "phrase_mode": "bag",
    "weights": "uniform",
    "topk": 1,
    "layers": ("2", "4"),
    "among": ("dog", "sky"),
    "max_layers": 1,
    "steps": ("1",),
    "branch": "uncond",
    "together": True,
    "normalise": True,
    "heads": True,
    "pooling": "daam",
    "scale": "own",
    "measure": "mass",
    "csv": "wide",
    "files": "all",
    "token": 3,
    "epsilon": 0.1,
    "threshold": 0.001,
    "word": "cat",
    "segment": "clip",
    "specials": True,
    "seconds": 3.0,
    "half": False,
    "prompt_length": 3,
    "max_tokens": 2,
    "head_steps": ("1",),
    "size": 2.0,
    "raw": True,
    "from_": (1, 2),
    "film": False,
    "films": True,
}
"""A value of every option that is not the default one."""
VALUES = {"sinks": "text_share", "gates": "std", "sketch": "near"}
"""The same of options called `value`."""
NEEDED = {
    ("words", "phrase_mode"): {"phrases": ("a bobcat",)},
    ("words", "weights"): {"phrases": ("a bobcat",)},
    ("curves", "phrase_mode"): {"phrases": ("a bobcat",)},
    ("curves", "weights"): {"phrases": ("a bobcat",)},
    ("sinks", "heads"): {"epsilon": 8.0},
    ("evolution", "phrase_mode"): {"word": "a bobcat"},
    ("evolution", "segment"): {"word": "cat"},
}
"""Options that matter only beside others."""
ELSEWHERE = {("sketch", "scale")}
"""Options of what these traces have not: sketch tokens."""


def gated():
    """Return the trace of an image model with everything that analyses look at."""
    layers = [replace(item, gates=(Gate("image", f"{item.path}.gate"),)) for item in JOINT]
    about = manifest(layers, branches=("cond", "uncond"))
    negative = [token for token in about.tokens["uncond"] if token.segment == "clip"]
    negative += [replace(token, word=None) for token in about.tokens["uncond"][len(negative) :]]
    about = replace(about, tokens=about.tokens | {"uncond": tuple(negative)})
    files = tensors(about)
    for step in about.steps:
        for layer in layers:
            shape = (2, 2, layer.num_heads, 4)
            gates = np.random.default_rng(step.index).random(shape, np.float32)
            files[shard_file(step)][f"{layer.index}/gate.image"] = gates
    return make_trace(about, files)


def drawn(folder):
    """Return a trace of a model that was given a drawing."""
    about = manifest(JOINT, branches=("cond", "uncond"))
    write_trace(folder, about)
    (folder / "outputs").mkdir(exist_ok=True)
    Image.fromarray(255 - np.asarray(sketches.ring((40, 24)))).save(folder / SKETCH)
    edit(folder / "trace.json", lambda fields: fields.update(outputs=[SKETCH]))
    return open_trace(folder)


def beside():
    """Return a trace with maps of words that are not in its prompt."""
    about = manifest(JOINT, branches=("cond", "uncond"))
    about = replace(about, request=replace(about.request, concepts=("sky", "grass", "dog")))
    files, rng = tensors(about), np.random.default_rng(7)
    for step in about.steps:
        for layer in JOINT:
            queries = sum(segment.length for segment in layer.queries if segment.grid)
            maps = rng.random((2, about.samples, queries, 3))
            maps /= maps.sum(-1, keepdims=True)
            files[shard_file(step)][f"{layer.index}/concepts.image"] = maps.astype(np.float16)
    return make_trace(about, files)


TRACES = {
    **dict.fromkeys(("words", "text_to_image", "text_to_text"), lambda _: make_related()[0]),
    "concepts": lambda _: beside(),
    "frames": lambda _: make_trace(manifest(VIDEO, branches=("cond", "uncond"))),
    "concentration": lambda _: make_trace(manifest(level="heads")),
    "sinks": lambda _: make_full()[0],
    "sketch": drawn,
    "matrices": lambda _: make_text(level="heads")[0],
}


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """Return a trace for every analysis."""
    image, text = gated(), make_text()[0]
    folder = tmp_path_factory.mktemp("drawn") / "trace"
    special = {name: make(folder) for name, make in TRACES.items()}
    return {
        analyse.name: text if analyse.needs.texts or analyse.needs.written else image
        for analyse in ANALYSES
    } | special


def outcome(trace, name, **options):
    """Return all that an analysis hands back, in a form that compares."""
    analysis = find(name)
    try:
        result = analysis.run(trace, analysis.Options(**options))
    except AnalysisError as error:
        return str(error)
    tables = {path: table.to_dict("list") for path, table in result.tables.items()}
    arrays = {key: item.to_dict() for key, item in result.arrays.items()}
    files = {path: {k: plain(v) for k, v in vars(item).items()} for path, item in
             result.files.items()}  # fmt: skip
    return repr((tables, arrays, files, result.notes))


def plain(value):
    """Return arrays as their bytes."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return (value.dtype, value.tobytes()) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize(
    ("name", "option"),
    [
        (analyse.name, field.name)
        for analyse in ANALYSES
        for field in fields(analyse.Options)
        if (analyse.name, field.name) not in ELSEWHERE
    ],
)
def test_every_option_matters(traces, name, option):
    """Whatever option is set, the results are others, or say why they are not."""
    needed = NEEDED.get((name, option), {})
    value = VALUES[name] if option == "value" else OTHER[option]
    assert outcome(traces[name], name, **needed) != outcome(
        traces[name], name, **needed, **{option: value}
    )
