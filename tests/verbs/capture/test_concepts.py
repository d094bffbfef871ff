"""`attn capture --concepts` and `attn analyze --only concepts`, from the command line."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich import filesize
from typer.testing import CliRunner

import attn
from attn.cli import build
from attn.errors import TraceError

pytestmark = pytest.mark.usefixtures("undrawn", "demo_cache")
WRONG = {
    "sky": (2, "concepts: expected 2 to 64, because they are held against each other; got 1"),
    "sky,,grass": (2, "concepts: one is empty in 'sky,,grass'; give sky,grass"),
    "sky,Sky": (2, "concepts: 'sky' is named twice; give each once"),
    "sky," + "very " * 99 + "green": (2, "has 100 words; give a word, or at most 8 in a row"),
    "sky," + "x" * 400: (1, "has more tokens than the 77 positions of 'clip'; give a word"),
    "mass": (1, "concepts: --keep mass keeps no maps; give --keep means, or more"),
    "self": (1, "concepts: none of the kept layers reads the text for the picture"),
    "qwen-image": (1, "backend 'qwen-image' keeps no maps of concepts: it has no layers"),
    "mmada": (1, "backend 'mmada' keeps no maps of concepts"),
}
MORE = {"mass": ("--keep", "mass"), "self": ("--blocks", "image.image", "--layers", "*attn1")}


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_concepts(wrong, tmp_path):
    """What cannot be held against each other is one line, before anything is written."""
    backend = wrong if wrong in ("qwen-image", "mmada") else "sd15"
    concepts = "sky,grass" if wrong in MORE or backend == wrong else wrong
    command = ["capture", "-b", backend, "-p", "a red cat", "--concepts", concepts, "--dry-run"]
    result = CliRunner().invoke(build(), [*command, *MORE.get(wrong, ())])
    code, message = WRONG[wrong]
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr


@pytest.fixture(scope="module")
def captured(demo_cache, tmp_path_factory):
    """Two samples with three concepts, maps kept as means."""
    options = {"steps": 2, "images": 2, "size": (48, 80), "keep": "means"}
    out = tmp_path_factory.mktemp("concepts") / "run"
    return attn.capture("sd15", "a cat", concepts="sky, tall grass,animal", out=out, **options)


@pytest.mark.slow
def test_maps_are_kept_and_read(captured):
    """As many bytes as planned; shares of the concepts that were typed, by name and on a grid."""
    trace = captured.trace
    assert trace.manifest.request.concepts == ("sky", "tall grass", "animal")
    files = (captured.path / "attention").glob("*.safetensors")
    assert captured.predicted_bytes == sum(file.stat().st_size for file in files)
    maps = trace.concept_maps()
    assert maps.dims == ("sample", "concept", "row", "column")
    assert maps.shape == (2, 3, 10, 6)
    np.testing.assert_allclose(maps.sum("concept"), 1, atol=2e-3)
    with pytest.raises(TraceError, match="has no concept_outputs: capture with --concepts"):
        trace.concept_maps("concept_outputs")


@pytest.mark.slow
def test_analysis(captured):
    """The table has the mean, lead and peak of each map; sheets have one scale, or each its own."""
    done = attn.analyze(captured.path, only=["concepts"])
    names = {file.name for file in done.pictures}
    ends = [f"{scale}-sample-{sample}.png" for scale in ("", "-own-scale") for sample in (0, 1)]
    assert names == {f"concepts{end}" for end in ends}
    told = done.traces[0].answer
    assert told.startswith("Of 3 concepts the image is closest to “")
    maps = captured.trace.concept_maps().values.astype(np.float64)
    table = pd.read_csv(done.traces[0].path / "concepts" / "concepts.csv")
    np.testing.assert_allclose(table["share"], maps.mean((2, 3)).ravel(), rtol=1e-5)
    leads = [(of.argmax(0) == number).mean() for of in maps for number in range(3)]
    np.testing.assert_allclose(table["leads"], leads)
    peaks = [np.unravel_index(of.argmax(), of.shape) for sample in maps for of in sample]
    expected = [((row + 0.5) / 10, (column + 0.5) / 6) for row, column in peaks]
    np.testing.assert_allclose(table[["peak_row", "peak_column"]], expected)


@pytest.mark.slow
def test_some_of_them_afterwards(captured, tmp_path):
    """Of factors, two concepts get the maps that a capture of only these has, without the model."""
    options = {"steps": 2, "images": 2, "size": (48, 80), "keep": "factors"}
    kept = attn.capture(
        "sd15", "a cat", concepts="sky, tall grass,animal", out=tmp_path / "kept", **options
    )
    files = (kept.path / "attention").glob("*.safetensors")
    assert kept.predicted_bytes == sum(file.stat().st_size for file in files)
    assert attn.verify(kept.path).status == "complete"
    fewer = attn.capture(
        "sd15", "a cat", concepts="tall grass,sky", out=tmp_path / "fewer", **options
    )
    expected = fewer.trace.concept_maps()
    maps = kept.trace.concept_maps(among=["tall grass", "sky"])
    np.testing.assert_allclose(maps, expected, atol=5e-4)
    assert list(maps.concept.values) == ["tall grass", "sky"]
    every = kept.trace.concept_maps(among=["sky", "tall grass", "animal"])
    np.testing.assert_allclose(every, kept.trace.concept_maps(), atol=5e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("keep", "kept"), [("means", "maps"), ("factors", "maps and keys")])
def test_plan_tells_of_them(keep, kept):
    """The plan says what is kept of concepts, and of how many bytes the two plans differ."""
    command = ["capture", "-b", "sd15", "-p", "a cat", "--steps", "2", "--keep", keep, "--dry-run"]
    plain, told = (
        CliRunner().invoke(build(), [*command, *more])
        for more in ([], ["--concepts", "sky,tall grass,animal"])
    )
    assert (plain.exit_code, told.exit_code) == (0, 0)
    (line,) = [line for line in told.stdout.splitlines() if "concepts" in line]
    assert line.startswith(f"{kept} of 3 concepts in 11 layers: ")
    plans = [
        attn.capture("sd15", "a cat", steps=2, keep=keep, dry_run=True, **more)
        for more in ({}, {"concepts": "sky,tall grass,animal"})
    ]
    sizes = [plan.predicted_bytes for plan in plans]
    assert line.endswith(f": {filesize.decimal(sizes[1] - sizes[0])} a trace")


CLI_WRONG = {
    "sky": "'concepts': concepts are held against each other: name two or more of sky, tall grass, "
    "animal; got sky",
    "sky,tall": "'concepts': there is no concept 'tall' in this trace; it was captured with sky, "
    "tall grass, animal.",
    "sky,animal": "has no query of layer 1 (down_blocks.0.attentions.0.transformer_blocks.0.attn2)",
}


@pytest.mark.slow
@pytest.mark.parametrize("among", CLI_WRONG)
def test_wrong_concepts_afterwards(among, captured):
    """One line says what there is, or what to capture."""
    command = ["analyze", str(captured.path), "--only", "concepts"]
    result = CliRunner().invoke(build(), [*command, "--set", f"concepts.among={among}"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert CLI_WRONG[among] in result.stderr


@pytest.fixture
def photo(tmp_path):
    """A picture that exists."""
    file = tmp_path / "photo.png"
    Image.effect_noise((80, 48), 90).convert("RGB").save(file)
    return file


KINDS = {
    "cut in joint attention": ("sd35", {"cut": "cat"}),
    "sd2": ("sd2", {}),
    "shown": ("sd15", {"noise": 0.5}),
    "drawn further": ("sd15", {"strength": 0.5}),
    "inpainting": ("sd15", {"strength": 1.0, "model": "demo:inpainting"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_concepts_beside_other_options(kind, photo, tmp_path):
    """The picture is that of the same command without concepts, of which there are maps."""
    backend, options = KINDS[kind]
    options = options | ({"picture": photo} if {"noise", "strength"} & options.keys() else {})
    if "model" in options:
        mask = tmp_path / "mask.png"
        Image.linear_gradient("L").resize((80, 48)).save(mask)
        options |= {"mask_picture": mask}
    options |= {"steps": None if "noise" in options else 2, "size": (80, 48)}
    plain = attn.capture(backend, "a cat", out=tmp_path / "plain", **options).trace
    trace = attn.capture(
        backend, "a cat", concepts="sky,animal", out=tmp_path / "with", **options
    ).trace
    with Image.open(trace.image()) as image, Image.open(plain.image()) as other:
        assert image.tobytes() == other.tobytes()
    np.testing.assert_allclose(trace.concept_maps().sum("concept"), 1, atol=2e-3)
