"""Language models that read a picture: its tokens, its grid, and the attention to it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from transformers import (
    AutoProcessor,
    LlavaForConditionalGeneration,
    Qwen2VLForConditionalGeneration,
)

import attn
from attn.backends.families.hf import pictures
from attn.errors import AttnError
from tests.backends.families.hf import grids, vision

PROMPT, NEW = "a red cat", 4
RENDERED = (
    f"<|start_header_id|>user<|end_header_id|><image>{PROMPT}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>"
)
pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own, of its processors


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a model that sees."""
    return vision.save(tmp_path_factory.mktemp("vision"))


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A file with a picture of another size than the model's."""
    image = Image.new("RGB", (83, 47), "white")
    ImageDraw.Draw(image).ellipse((10, 10, 40, 40), fill="red")
    image.save(path := tmp_path_factory.mktemp("pictures") / "cat.png")
    return path


def capture(folder, picture, out, prompt=PROMPT, **options):
    """Return what was captured of a text about a picture."""
    options = {"generate": NEW, "keep": "factors"} | options
    return attn.capture(
        "hf", prompt, model=folder, settings={"image": str(picture)}, out=out, **options
    )


@pytest.fixture(scope="module")
def trace(folder, picture, tmp_path_factory):
    """A captured text about a picture."""
    return capture(folder, picture, tmp_path_factory.mktemp("seen") / "run").trace


@pytest.fixture(scope="module")
def read(folder, picture):
    """What the processor makes of picture and text."""
    processor = AutoProcessor.from_pretrained(folder)
    return processor(images=[Image.open(picture)], text=[RENDERED], return_tensors="pt")


def test_segments(trace, read):
    """The picture's tokens are a segment with the processor's grid; the ids are the processor's."""
    parts = [(part.name, part.length, part.grid) for part in trace.manifest.segments["cond"]]
    grid = (vision.ROWS, vision.COLUMNS)
    assert parts == [
        ("lead", 3, None),
        ("image", 15, grid),
        ("prompt", 7, None),
        ("generated", 4, None),
    ]
    assert [token.id for token in trace.tokens()][:25] == read["input_ids"][0].tolist()
    assert [word.text for word in trace.words] == ["a", "red", "cat"]
    assert trace.manifest.kept.blocks == ("all.all",)


def test_text_is_that_of_transformers(trace, read, folder):
    """What is written greedily is what `generate` writes with the processor's own inputs."""
    model = LlavaForConditionalGeneration.from_pretrained(folder)
    ids = model.generate(**read, max_new_tokens=NEW, do_sample=False)
    assert ids[0].tolist() == [token.id for token in trace.tokens()]


def test_attention_is_exact(trace, read, folder):
    """The rows of all steps are float64's matrix of picture and text; the eyes are no layers."""
    model = LlavaForConditionalGeneration.from_pretrained(folder, attn_implementation="eager")
    ids = torch.tensor([[token.id for token in trace.tokens()]])
    pixels = read["pixel_values"].double()
    with torch.no_grad():
        exact = model.double()(ids, pixel_values=pixels, output_attentions=True).attentions
    assert len(trace.layers) == len(exact) == 2
    for layer, probs in enumerate(exact):
        for step, (start, stop) in enumerate(each.span for each in trace.steps):
            got = trace.probs(layer, step)
            np.testing.assert_allclose(got, probs[0, :, start:stop, :stop], atol=1e-5)


def test_picture_on_its_grid(trace):
    """What the last token reads of the picture can be laid out in rows and columns."""
    probs = trace.probs(1, NEW)
    image = probs.sel(key=probs.segment == "image").values
    (part,) = [part for part in trace.layers[1].keys if part.name == "image"]
    assert image.reshape(-1, *part.grid).shape == (6, vision.ROWS, vision.COLUMNS)
    flow = trace.total(1, "generated").isel(step=-1).squeeze()
    np.testing.assert_allclose(
        flow.sel(segment=flow.segment == "image").squeeze(), image.sum((1, 2)), atol=1e-5
    )


def test_analyses(trace):
    """`flow` tells what the text reads of the picture; every analysis of texts runs."""
    done = attn.analyze(trace.folder, pictures=False)
    flow = next(file for file in done.files if file.name == "flow.csv").read_text()
    assert ",image," in flow
    assert {"pairs.csv", "tokens.csv", "similarity.csv"} <= {file.name for file in done.files}


def test_grid_that_is_not_told(picture, tmp_path):
    """Where the processor's patches do not make the picture's tokens, it is refused by name."""
    folder = vision.save(tmp_path / "model", num_additional_image_tokens=0)
    with pytest.raises(AttnError, match=r"^LlavaProcessor does not say how the 14 tokens of a pic"):
        capture(folder, picture, tmp_path / "out")


def test_prompt_that_spells_a_picture(folder, picture, tmp_path):
    """The token of a picture in the prompt is refused."""
    with pytest.raises(AttnError, match="spells the token of a picture, <image>"):
        capture(folder, picture, tmp_path / "out", prompt="a <image> cat")


def test_no_picture(folder, tmp_path):
    """A file that is no picture, and one that is not there, are refused by name."""
    (tmp_path / "text.png").write_text("a cat")
    with pytest.raises(
        AttnError, match=r"text\.png is no picture that can be read: it begins with"
    ):
        capture(folder, tmp_path / "text.png", tmp_path / "out")
    with pytest.raises(AttnError, match=r"none\.png"):
        capture(folder, tmp_path / "none.png", tmp_path / "out")


def test_model_without_eyes(make_folder, picture, tmp_path):
    """A model of text alone refuses a picture."""
    with pytest.raises(AttnError, match=r"LlamaForCausalLM reads no pictures, so image="):
        capture(make_folder(), picture, tmp_path / "out")


def test_text_alone(folder, tmp_path):
    """A model that could read a picture reads text without one."""
    trace = attn.capture("hf", PROMPT, model=folder, generate=2, out=tmp_path / "out").trace
    assert [part.name for part in trace.manifest.segments["cond"]] == ["prompt", "generated"]


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    """A Qwen2-VL, whose processor tells the grid of patches, and the processor."""
    folder = tmp_path_factory.mktemp("grids")
    return folder, grids.Processor(grids.save(folder))


def test_grid_that_is_told(merged, picture, tmp_path, monkeypatch):
    """The grid of a Qwen2-VL is that of its merged patches, and its attention float64's."""
    folder, processor = merged
    monkeypatch.setattr(pictures, "tokenizers", SimpleNamespace(read=lambda kind, path: processor))
    trace = capture(folder, picture, tmp_path / "run").trace
    (part,) = [part for part in trace.manifest.segments["cond"] if part.name == "image"]
    read = processor([Image.open(picture)], ["<|image_pad|>"], "pt")
    rows, columns = (read["image_grid_thw"][0, 1:] // grids.MERGED).tolist()
    assert part.grid == (rows, columns)
    assert rows < columns
    kind = Qwen2VLForConditionalGeneration
    model = kind.from_pretrained(folder, attn_implementation="eager").double()
    ids = torch.tensor([[token.id for token in trace.tokens()]])
    seen = {name: read[name] for name in ("pixel_values", "image_grid_thw")}
    kinds = (ids == processor.image_token_id).long()
    with torch.no_grad():
        exact = model(ids, **seen, mm_token_type_ids=kinds, output_attentions=True).attentions
    for layer, probs in enumerate(exact):
        for step, (start, stop) in enumerate(each.span for each in trace.steps):
            got = trace.probs(layer, step)
            np.testing.assert_allclose(got, probs[0, :, start:stop, :stop], atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"image_grid_thw": torch.tensor([[1, 6, 10], [1, 6, 10]])},  # several crops
        {"image_grid_thw": torch.tensor([[2, 6, 10]])},  # a film
        {"image_grid_thw": torch.tensor([[1, 5, 9]])},  # no whole tokens
        {"image_grid_thw": torch.tensor([[1, 4, 10]])},  # of other tokens
    ],
)
def test_grids_that_cannot_be(merged, picture, tmp_path, monkeypatch, changes):
    """A picture in several crops, and a grid of other tokens than the text has, are refused."""
    folder, processor = merged
    odd = grids.Processor(processor.tokenizer, **changes)
    monkeypatch.setattr(pictures, "tokenizers", SimpleNamespace(read=lambda kind, path: odd))
    with pytest.raises(AttnError, match=r"^Processor does not say how the .* tokens of a picture"):
        capture(folder, picture, tmp_path / "out")
