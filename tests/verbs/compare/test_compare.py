"""`attn.compare`."""

import json
import os
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from shutil import rmtree as remove

import msgspec
import numpy as np
import pytest
from PIL import Image

import attn
from attn.errors import AnalysisError, TraceError, UsageError
from attn.files.markers import MARKER
from attn.schema import Lora, find_words
from attn.verbs.capture.collection import Entry, write_index
from attn.verbs.compare.compare import compare
from attn.verbs.compare.results import NO_CONTENT
from tests.helpers.toy_traces import manifest, read_csv, write_collection, write_trace

pytestmark = pytest.mark.usefixtures("undrawn")
WORDS = {"A", "a", "cat", "bobcat"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a folder with the collections base, style and other, of the same five seeds."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, name in ((0, "base"), (100, "style"), (200, "other")):
        write_collection(folder / name, range(5), seed=seed)
    return folder


@pytest.fixture(scope="module")
def drawn(runs, tmp_path_factory):
    """Return a comparison with its pictures."""
    return compare(runs / "base", runs / "style", out=tmp_path_factory.mktemp("drawn"))


def test_manual(runs, tmp_path, monkeypatch, capsys):
    """The code in the manual runs, and prints the change that leads the table."""
    import re

    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(runs)
    page = (Path(__file__).parents[3] / "docs" / "compare.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    exec(code, {})
    first = read_csv(tmp_path / "compared/comparison/tables/mass.csv")[0]
    word, *numbers = capsys.readouterr().out.split()
    assert word == first["word"]
    expected = [float(first[name]) for name in ("change", "low", "high")]
    assert [float(number) for number in numbers] == pytest.approx(expected)


def test_public():
    """The verb is a public name."""
    assert attn.compare is compare


def test_tables(drawn):
    """Tables are returned and written alike."""
    rows = read_csv(drawn.path / "tables/mass.csv")
    assert {row["word"] for row in rows} == WORDS
    changes = [float(row["change"]) for row in rows]
    np.testing.assert_allclose(changes, drawn.tables["mass.csv"]["change"], rtol=1e-8)
    assert {row["n"] for row in rows} == {"5"}


def test_python(drawn, runs):
    """In Python there are figures by name, and maps: means over pairs of those of traces."""
    assert drawn.pictures["summary.png"].is_file()
    maps = drawn.maps["style"].sel(word="bobcat")
    for value, name in (("base", "base"), ("variant", "style")):
        folders = sorted(path.parent for path in (runs / name).glob("*/trace.json"))
        traces = [attn.open(folder).word_maps("bobcat").values for folder in folders]
        expected = np.mean(traces, (0, 1), np.float64)[0, 0]
        np.testing.assert_allclose(maps.sel(value=value).values.squeeze(), expected, rtol=1e-5)
    change = maps.sel(value="variant") - maps.sel(value="base")
    np.testing.assert_allclose(maps.sel(value="change"), change, atol=1e-9)


def test_index(drawn, runs):
    """The index says what was compared, how, and which files there are."""
    index = json.loads((drawn.path / "comparison.json").read_text(encoding="utf-8"))
    assert index["schema"] == 1
    assert index["base"] == {"name": "base", "path": str(runs / "base")}
    (variant,) = index["variants"]
    assert variant == {
        "name": "style",
        "path": str(runs / "style"),
        "pairs": 5,
        "pairs_of_traces": 5,
        "same_noise": 5,
        "notes": [],
        "differences": [],
        "seed_shown": variant["seed_shown"],
    }
    assert (index["answer"], index["sweep"]) == (drawn.answer, None)
    assert index["options"]["pooling"] == "mean"
    assert index["warnings"] == []
    assert (*index["files"], "comparison.json") == drawn.files
    assert all((drawn.path / file).is_file() for file in drawn.files)


def test_pictures(drawn, runs):
    """All pictures of LoRA Attention Analyzer are there, and those of our own."""
    files = set(drawn.files)
    assert {"summary.png", "layers.png", "image_comparison.png", "attention_comparison.png"} < files
    for run in ("base", "variant"):
        assert f"{run}_image.png" in files
        names = ("pixel_dominant_tokens", "token_attention_distribution", "token_attention_gallery")
        for name in (*names, "grid_analysis_4x4", "grid_analysis_8x8"):
            assert f"{run}_analysis/{name}.png" in files
    assert len([file for file in files if file.startswith("token_comparisons/")]) == len(WORDS)
    assert {"difference.png", "pairs.png", "report.html"} < files
    (shown,) = json.loads((drawn.path / "comparison.json").read_text())["variants"]
    copied = (drawn.path / "variant_image.png").read_bytes()
    seed = shown["seed_shown"]
    assert copied == (runs / f"style/{seed:04}/outputs/image-0.png").read_bytes()
    with Image.open(drawn.path / "summary.png") as image:
        assert (image.info["variants"], image.info["seed"]) == ("style", str(seed))


def scenes(monkeypatch):
    """Return the list into which the scenes of summaries go."""
    from attn.viz.compare import change_summary

    result, draw = [], change_summary.draw_summary
    monkeypatch.setattr(
        change_summary, "draw_summary", lambda scene: result.append(scene) or draw(scene)
    )
    return result


def test_one_pair_is_shown(runs, tmp_path, monkeypatch):
    """Pictures and maps of all variants are of one trace of the baseline, if all have its seed."""
    result = scenes(monkeypatch)
    late = write_collection(tmp_path / "late", [3, 4], seed=300, picture=(16, 24))
    few = {"out": tmp_path / "out", "only": ["words"]}
    compare(runs / "base", runs / "style", late, **few)
    (scene,) = result
    shown = scene.texts["seed"]
    assert shown in "34"
    expected = f"toy · 2/5 pairs, seeds 0-4, from the same noise · shown: seed {shown}"
    assert scene.subtitle_of_images == expected
    assert [side.note for side in scene.sides] == ["", "", ""]
    item = (runs / f"base/000{shown}", runs / f"style/000{shown}")
    compare(*item, out=tmp_path / "one", only=["words"])
    np.testing.assert_array_equal(scene.sides[0].maps, result[1].sides[0].maps)
    np.testing.assert_array_equal(scene.sides[1].maps, result[1].sides[1].maps)


def test_other_seeds_are_named(runs, tmp_path, monkeypatch):
    """Where no pair is common, each picture has its own seed, and same noise is not claimed."""
    result = scenes(monkeypatch)
    early = write_collection(tmp_path / "early", [0, 1], seed=200)
    late = write_collection(tmp_path / "late", [3, 4], seed=300)
    done = compare(runs / "base", early, late, out=tmp_path / "out", only=["words"])
    (scene,) = result
    assert scene.subtitle_of_images == "toy · 2 pairs · shown: not from the same noise"
    seeds = [side.note.removeprefix("seed ") for side in scene.sides]
    assert seeds[1] in "01"
    assert seeds[2] in "34"
    assert seeds[0] == seeds[1]  # figures are of the first variant's pair
    with Image.open(done.path / "summary.png") as image:
        assert image.info["seed"] == ", ".join(dict.fromkeys(seeds))


def test_other_prompts_are_named(tmp_path, monkeypatch):
    """Where the pictures are of several prompts, all are in the heading, with numbers."""
    result = scenes(monkeypatch)
    write_collection(tmp_path / "a", [3])
    write_collection(tmp_path / "b", [3], prompt="A dog, a bobcat", seed=5)
    compare(tmp_path / "a", tmp_path / "b", out=tmp_path / "out", only=["words"])
    (scene,) = result
    assert scene.prompt == "1: A cat, a bobcat · 2: A dog, a bobcat"
    assert [side.note for side in scene.sides] == ["prompt 1", "prompt 2"]
    assert scene.shown == "shown: seed 3"


def test_names_of_a_lora(tmp_path):
    """Only what was made with a LoRA is called after it, as in LoRA Attention Analyzer."""
    about = manifest(samples=1)
    with_it = replace(about.request, loras=(Lora("style.safetensors", 1.0),))
    write_trace(tmp_path / "base", about, picture=(16, 24))
    write_trace(tmp_path / "style", replace(about, request=with_it), picture=(16, 24))
    few = {"only": ["maps"], "words": ["cat"]}
    done = compare(tmp_path / "base", tmp_path / "style", out=tmp_path / "out", **few)
    names = {file.partition("/")[0] for file in done.files if "token_" not in file}
    assert {"base_image.png", "lora_image.png", "lora_analysis"} < names
    assert not [name for name in names if name.startswith("variant")]


def test_cells(drawn):
    """The numbers of the cells are a table too; the parts of a word add up to 1."""
    rows = read_csv(drawn.path / "base_analysis/grid_analysis_8x8.csv")
    assert len(rows) == len(WORDS) * 64
    parts = [float(row["part"]) for row in rows if row["word"] == "cat"]
    assert sum(parts) == pytest.approx(1)


def test_itself(runs, tmp_path):
    """A run compared with itself differs by exactly 0, in every table."""
    done = compare(runs / "base", runs / "base", out=tmp_path, pictures=False)
    for name, table in done.tables.items():
        columns = table
        for key in {"change", "low", "high", "effect_size", "changed"} & {*columns}:
            if name not in ("maps.csv", "images.csv"):
                assert (columns[key] == 0).all(), name
    assert set(done.tables["maps.csv"]["value"]) == {0.0, 1.0}
    assert done.tables["images.csv"]["value"].tolist() == [0.0, 1.0]


def test_several_variants(runs, tmp_path):
    """Several variants share tables, with their names, and have folders of their own."""
    done = compare(runs / "base", runs / "style", runs / "other", out=tmp_path, only=["words"])
    names = done.tables["mass.csv"]["variant_name"]
    assert names.tolist() == ["style"] * 4 + ["other"] * 4
    assert done.variants == {"style": 5, "other": 5}
    assert [file for file in done.files if file.endswith(".png")] == [
        "summary.png",
        "variants/style/attention_comparison.png",
        "variants/other/attention_comparison.png",
    ]


def test_options(runs, tmp_path):
    """Words, phrases, pooling and settings reach the comparison."""
    done = compare(
        runs / "base",
        runs / "style",
        out=tmp_path,
        words=["cat"],
        phrases=["a bobcat"],
        pooling="daam",
        settings={"compare.layers": "3"},
        pictures=False,
    )
    assert set(done.tables["mass.csv"]["word"]) == {"cat", "a bobcat"}
    assert set(done.tables["mass_layers.csv"]["layer"]) == {3}


def contents(folder):
    """Return every file below a folder with its bytes, but the markers of what is whose."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MARKER)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_replaced(runs, tmp_path):
    """A later comparison replaces the files of the earlier one, and leaves other files alone."""
    compare(runs / "base", runs / "style", out=tmp_path, only=["words", "sinks"], pictures=False)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "comparison/notes.txt").write_text("mine")
    compare(runs / "base", runs / "other", out=tmp_path, only=["words"], pictures=False)
    tables = ("tables/mass.csv", "tables/mass_pairs.csv", "tables/share.csv")
    names = ("comparison.json", "notes.txt", "report.html", *tables)
    assert contents(tmp_path).keys() == {"notes.txt", *(f"comparison/{name}" for name in names)}


@pytest.mark.parametrize("listed", ["thesis.txt", "link/thesis.txt", "../victim/thesis.txt"])
def test_an_index_of_others(runs, tmp_path, listed):
    """What somebody else's index lists is neither removed nor replaced, through links neither."""
    out = tmp_path / "out"
    for folder in (out, tmp_path / "victim"):
        folder.mkdir()
        (folder / "thesis.txt").write_text("mine")
    (out / "link").symlink_to("../victim")
    (out / "comparison.json").write_text(json.dumps({"schema": 1, "files": [listed]}))
    before = contents(tmp_path)
    done = compare(runs / "base", runs / "style", out=out, only=["words"], pictures=False)
    assert done.path == out / "comparison"
    assert before.items() <= contents(tmp_path).items()


def test_clash_keeps_the_earlier_results(runs, tmp_path):
    """What others have under the name of a result stays; without it, results are replaced."""
    only = {"out": tmp_path, "only": ["words"]}
    compare(runs / "base", runs / "style", pictures=False, **only)
    (tmp_path / "comparison/summary.png").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(AnalysisError, match=r"summary\.png is in the way"):
        compare(runs / "base", runs / "style", **only)
    assert contents(tmp_path) == before
    (tmp_path / "comparison/summary.png").unlink()
    done = compare(runs / "base", runs / "other", **only)
    assert contents(done.path).keys() == set(done.files)


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """Return a folder of two traces, the results of one of them, and a file."""
    folder = tmp_path_factory.mktemp("taken")
    for name in ("base", "style"):
        write_collection(folder / name, range(1), picture=(16, 24))
    attn.analyze(folder / "base/0000", out=folder / "results", pictures=False)
    (folder / "a").touch()
    return folder


@pytest.mark.parametrize(
    "out",
    ["base/analysis", "base/0000/analysis/x", "base/0000/attention", "results", "results/x", "a"],
)
def test_where_no_comparison_goes(taken, out):
    """Nothing is written into results of other commands, nor into what a trace keeps for itself."""
    before = contents(taken)
    with pytest.raises(AnalysisError, match=r"nothing else goes into it|is a file"):
        compare(taken / "base", taken / "style", out=taken / out, pictures=False)
    assert contents(taken) == before


def test_no_content_words(runs, tmp_path):
    """Where no word of the prompt names anything, a warning says so; else there is none."""
    for name, seed in (("base", 0), ("style", 100)):
        write_collection(tmp_path / name, range(1), prompt="A the, a with", seed=seed)
    options = {"pictures": False, "only": ["words"]}
    done = compare(tmp_path / "base", tmp_path / "style", out=tmp_path / "out", **options)
    assert NO_CONTENT in done.warnings
    done = compare(runs / "base", runs / "style", out=tmp_path / "other", **options)
    assert NO_CONTENT not in done.warnings


def test_names_that_are_not_utf8(runs, tmp_path):
    """Folders may have names that are no text: pictures, tables and index spell the bytes."""
    other = tmp_path / os.fsdecode(b"caf\xe9")
    copytree(runs / "style/0000", other)
    done = compare(runs / "base/0000", other, other, out=tmp_path / "out", only=["words"])
    assert "caf\\udce9" in (done.path / "tables/mass.csv").read_text(encoding="utf-8")
    with Image.open(done.path / "summary.png") as image:
        assert image.info["variants"].startswith("caf\\udce9")
    told = msgspec.json.decode((done.path / "comparison.json").read_bytes())
    assert told["variants"][0]["name"].startswith("caf\\udce9")


def test_one_text(runs, tmp_path):
    """One word, phrase or part may be given without a list around it."""
    item = compare(
        runs / "base/0000",
        runs / "style/0000",
        out=tmp_path,
        words="cat",
        phrases="a bobcat",
        only="words",
        pictures=False,
    )
    assert item.tables.keys() == {"mass.csv", "share.csv", "mass_pairs.csv"}
    assert set(item.tables["mass.csv"]["word"]) == {"cat", "a bobcat"}


def test_failure_keeps_the_earlier_results(runs, tmp_path):
    """If a comparison fails, what an earlier one wrote is still there."""
    done = compare(runs / "base", runs / "style", out=tmp_path, pictures=False)
    with pytest.raises(AnalysisError):
        compare(runs / "base", runs / "style", out=tmp_path, words=["dog"])
    assert all((done.path / file).is_file() for file in done.files)


def test_partial(tmp_path):
    """An interrupted trace is compared in its finished steps, without its picture."""
    write_trace(tmp_path / "base")
    write_trace(tmp_path / "cut", partial=True, done=2)
    few = {"only": ["steps", "maps"], "words": ["cat"]}
    done = compare(tmp_path / "base", tmp_path / "cut", out=tmp_path / "out", **few)
    assert done.warnings == (
        "cut: the capture of seed 7 was interrupted: its first 2 steps are compared with the same "
        "ones",
    )
    assert set(done.tables["mass_steps.csv"]["step"]) == {0, 1}
    assert "base_image.png" in done.files
    assert "variant_image.png" not in done.files


def test_without_maps(tmp_path):
    """Traces without maps have tables and charts, and no pictures of maps."""
    for name in ("a", "b"):
        write_trace(tmp_path / name, manifest(level="mass", samples=1))
    done = compare(tmp_path / "a", tmp_path / "b", out=tmp_path / "out")
    assert "maps.csv" not in done.tables
    assert "summary.png" in done.files
    assert not [file for file in done.files if "_analysis" in file or "token_" in file]
    with pytest.raises(AnalysisError, match="there is no part 'maps' of this comparison"):
        compare(tmp_path / "a", tmp_path / "b", out=tmp_path / "out", only=["maps"])


LACK = "maps of image.text, which were not kept; capture with --keep maps"


def test_some_without_maps(runs, tmp_path):
    """If one trace of several has no maps, those of the others are compared, and it is said."""
    folder = write_collection(tmp_path / "v", range(5), seed=100)
    about = manifest(samples=1, level="mass")
    remove(folder / "0001")
    write_trace(folder / "0001", replace(about, request=replace(about.request, seed=1)))
    done = compare(runs / "base", folder, out=tmp_path / "out", pictures=False)
    warning = f"v: maps are compared in 4 of 5 pairs; in others the variant lacks {LACK}"
    assert done.warnings == (warning,)
    maps = {key: done.tables[f"{key}.csv"] for key in ("maps", "dominant", "changed")}
    assert {name: set(columns["n"]) for name, columns in maps.items()} == {
        name: {4} for name in maps
    }
    remove(folder / "0001")
    rest = compare(runs / "base", folder, out=tmp_path / "out", pictures=False)
    np.testing.assert_array_equal(maps["maps"]["value"], rest.tables["maps.csv"]["value"])


def test_why_maps_are_missing(tmp_path):
    """Wherever maps are left out, the warning names the trace, what it lacks and what helps."""
    for level in ("mass", "means", "maps"):
        write_trace(tmp_path / level, manifest(samples=1, level=level))
    write_trace(tmp_path / "cut", manifest(samples=1, level="means"), partial=True, done=2)
    step = "maps of single steps, of which only the mean was kept; capture with --keep maps"
    cut = "the means of image.text, which are written at the end; capture with --resume"
    expected = {
        ("maps", "mass", ""): f"the variant lacks {LACK}",
        ("mass", "mass", ""): f"both lack {LACK}",
        ("means", "maps", "0-1"): f"the baseline lacks {step}",
        ("means", "cut", ""): f"the baseline lacks {step} and the variant lacks {cut}",
    }
    for (base, variant, steps), reason in expected.items():
        done = compare(
            tmp_path / base,
            tmp_path / variant,
            out=tmp_path / "out",
            settings={"compare.steps": steps} if steps else {},
            pictures=False,
        )
        assert f"maps are not compared: {reason}" in done.warnings[-1]
        assert "maps.csv" not in done.tables
        words = {"only": ["words"], "pictures": False}
        only = compare(tmp_path / base, tmp_path / variant, out=tmp_path / "w", **words)
        assert not [warning for warning in only.warnings if "maps" in warning]


def write_two_prompts(folder, seed):
    """Write the collections `a` and `b` of two prompts, with numbers of that seed in `b`."""
    about = manifest(samples=1)
    prompts = ("A dog, a bobcat", "A cat, a bobcat")
    for name, first in (("a", 0), ("b", seed)):
        for index, prompt in enumerate(prompts):
            request = replace(about.request, prompt=prompt)
            item = replace(about, request=request, words=find_words(prompt))
            write_trace(folder / name / f"{index:04d}", item, seed=first + index)
        entries = [
            Entry(f"{index:04d}", "complete", prompt, 7) for index, prompt in enumerate(prompts)
        ]
        write_index(folder / name, entries)


def test_first_prompt_with_the_words(tmp_path):
    """What is drawn is of the first prompt that has the asked words, and only these words."""
    write_two_prompts(tmp_path, 9)
    few = {"only": ["words", "maps"], "words": ["cat"]}
    done = compare(tmp_path / "a", tmp_path / "b", out=tmp_path / "out", **few)
    assert [file for file in done.files if file.startswith("token_")] == [
        "token_comparisons/001-cat.png"
    ]
    with Image.open(done.path / "summary.png") as image:
        assert image.info["prompt"] == "A cat, a bobcat"
    for run in ("base", "variant"):
        cells = read_csv(done.path / f"{run}_analysis/grid_analysis_4x4.csv")
        assert {row["word"] for row in cells} == {"cat"}


@pytest.mark.parametrize(("seed", "word"), [(9, "dog"), (26, "cat")])
def test_the_prompt_of_the_word_that_changed_most(tmp_path, monkeypatch, seed, word):
    """The summary shows a pair whose prompt has the word that changed most, and its map."""
    result = scenes(monkeypatch)
    write_two_prompts(tmp_path, seed)
    done = compare(tmp_path / "a", tmp_path / "b", out=tmp_path / "out", only=["words"])
    assert read_csv(done.path / "tables/mass.csv")[0]["word"] == word
    (scene,) = result
    assert (scene.prompt, scene.others) == (f"A {word}, a bobcat", 1)
    assert scene.subtitle_of_images.endswith(" · shown: this prompt, seed 7")
    index = next(at for at, term in enumerate(scene.words) if term.text == word)
    alone = {"out": tmp_path / "one", "only": ["words"]}
    folder = "0000" if word == "dog" else "0001"
    compare(tmp_path / "a" / folder, tmp_path / "b" / folder, **alone)
    for side, same in zip(scene.sides, result[1].sides, strict=True):
        np.testing.assert_array_equal(side.maps[index], same.maps[index])


def test_other_noise(tmp_path):
    """Pairs that may not have begun with the same noise are counted."""
    about = manifest(samples=1)
    write_trace(tmp_path / "a", replace(about, request=replace(about.request, width=80)))
    write_trace(tmp_path / "b", replace(about, request=replace(about.request, width=64)))
    done = compare(tmp_path / "a", tmp_path / "b", out=tmp_path / "out", pictures=False)
    assert done.warnings == (
        "b: 1 of 1 pairs may not have begun with the same noise: size 80x? and 64x?",
    )


def test_one_damaged_trace(runs, tmp_path):
    """A damaged trace costs its pair, not the comparison; alone it is an error."""
    write_collection(tmp_path / "base", range(2))
    shard = tmp_path / "base/0001/attention/step-0001.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    done = compare(tmp_path / "base", runs / "style", out=tmp_path / "out", pictures=False)
    assert done.variants == {"style": 1}
    assert any("0001 are left out" in warning for warning in done.warnings)
    with pytest.raises(TraceError, match="SHA-256"):
        compare(tmp_path / "base/0001", runs / "style/0001", out=tmp_path / "x", pictures=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"only": ["map"]}, "unknown part 'map'. Did you mean 'maps'"),
        ({"only": []}, "only: nothing is named"),
        ({"words": []}, "words: nothing is named"),
        ({"pooling": "max"}, "pooling: expected one of mean, daam; got 'max'"),
        ({"settings": {"layers": "1"}}, "--set takes compare.KEY=VALUE, got 'layers=1'"),
    ],
)
def test_usage(runs, tmp_path, arguments, message):
    """Wrong arguments are refused before anything is read."""
    with pytest.raises(UsageError, match=message.replace("|", r"\|")):
        compare(runs / "base", runs / "style", out=tmp_path, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"words": ["dog"]}, "the prompts do not share a word 'dog'. Their words: a, cat, bobcat."),
        ({"phrases": ["cat bobcat"]}, "the prompts do not share a phrase 'cat bobcat'"),
    ],
)
def test_words_that_are_not_there(runs, tmp_path, arguments, message):
    """A word that no pair of prompts shares is an error, which names those that they do."""
    with pytest.raises(AnalysisError, match=message):
        compare(runs / "base", runs / "style", out=tmp_path, **arguments)


def test_nothing_to_compare_with(runs):
    """One run alone cannot be compared."""
    with pytest.raises(UsageError, match="name what is compared with the baseline"):
        compare(runs / "base")


def test_listed_under_an_impossible_name(tmp_path):
    """A trace that the index lists under a name that no file system takes is not there."""
    write_trace(tmp_path / "a")
    (tmp_path / "c").mkdir()
    write_index(tmp_path / "c", [Entry("x" * 300, "complete", "a cat", 3)])
    with pytest.raises(AnalysisError, match="no trace that could be compared"):
        compare(tmp_path / "a", tmp_path / "c", out=tmp_path, pictures=False)
