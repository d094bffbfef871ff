"""The verb `analyze`: what it writes, replaces, refuses and reports."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from PIL import Image

from attn.analysis import registry
from attn.errors import AnalysisError, TraceError, UsageError
from attn.files.markers import MARKER
from attn.schema import find_words
from attn.trace.store import MANIFEST
from attn.verbs.analyze.analyze import analyze
from attn.verbs.analyze.results import Analyzed, TraceResults
from attn.verbs.capture.collection import Entry, write_index
from attn.verbs.report import Report
from tests.helpers.cheaper.undrawn import drawn
from tests.helpers.editing import edit
from tests.helpers.toy_traces import PROMPT, joint_layer, manifest, read_csv, write_trace

FILES = [
    "analysis.json",
    "clip/base_analysis/grid_analysis_4x4.csv",
    "clip/base_analysis/grid_analysis_4x4.png",
    "clip/base_analysis/grid_analysis_8x8.csv",
    "clip/base_analysis/grid_analysis_8x8.png",
    "clip/base_analysis/pixel_dominant_tokens.png",
    "clip/base_analysis/token_attention_distribution.png",
    "clip/curves/words.png",
    "clip/heatmaps/words-own-scale.png",
    "clip/heatmaps/words.png",
    "clip/heatmaps/words/000-A.png",
    "clip/heatmaps/words/001-cat.png",
    "clip/heatmaps/words/002-a.png",
    "clip/heatmaps/words/003-bobcat.png",
    "clip/tables/dominant.csv",
    "clip/tables/words.csv",
    "clip/tables/words_auc.csv",
    "clip/tables/words_stepavg.csv",
    "clip/tables/words_summary.csv",
    "report.html",
    "sinks/first_token_metrics.csv",
    "sinks/layer_head_heatmap.png",
    "sinks/roles.csv",
    "sinks/roles.png",
    "sinks/sinks.csv",
    "sinks/timestep_curve.png",
    "sinks/tokens.json",
    "words/aligned.csv",
]
JOINED = [
    "analysis.json",
    "roles.csv",
    "sinks.csv",
    "summary.png",
    "traces.csv",
    "words_auc.csv",
    "words_stepavg.csv",
    "words_summary.csv",
]
TABLES = [file for file in FILES if not file.endswith(".png")]

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def trace(tmp_path):
    """A small trace with its picture."""
    return write_trace(tmp_path / "run")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A trace and all its results, which no test changes."""
    trace = write_trace(tmp_path_factory.mktemp("whole") / "run")
    return trace, analyze(trace)


@pytest.fixture(scope="module")
def with_phrase(tmp_path_factory):
    """A trace and its results with a phrase, which no test changes."""
    trace = write_trace(tmp_path_factory.mktemp("phrase") / "run")
    return trace, analyze(trace, phrases=["a bobcat"])


@pytest.fixture
def analyzed(whole, tmp_path):
    """A trace of the test alone with all its results."""
    return shutil.copytree(whole[0], tmp_path / "run")


def asked(about, **fields):
    """Return a manifest with other fields of its request, such as the seed."""
    return replace(about, request=replace(about.request, **fields))


def tree(folder):
    """Return every file below a folder, but the markers of what is whose."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MARKER)
    return sorted(path.relative_to(folder).as_posix() for path in files)


def colours(path):
    """Return every colour of a picture."""
    with Image.open(path) as image:
        return {colour for _, colour in image.getcolors(image.width * image.height)}


def test_files(whole):
    """A trace gets tables, pictures and an index of them in its folder `analysis`."""
    trace, done = whole
    assert tree(trace / "analysis") == FILES
    assert set(done.files) == {trace / "analysis" / file for file in FILES}
    assert set(done.pictures) == {file for file in done.files if file.suffix == ".png"}
    assert (done.path, done.status, done.warnings) == (trace, "complete", ())


def test_index(trace):
    """`analysis.json` says of what, with which options, and which files."""
    analyze(trace, topk=1, settings={"words.heads": "yes"}, pictures=False)
    index = json.loads((trace / "analysis" / "analysis.json").read_text(encoding="utf-8"))
    about = {"status": "complete", "backend": "toy", "prompt": PROMPT, "seed": 7}
    assert (index["schema"], index["trace"]) == (1, about)
    assert (index["skipped"], index["reduced"]) == ({}, {})
    words, *others = index["analyses"]
    assert (words["name"], words["notes"]) == ("words", [])
    assert (words["options"]["topk"], words["options"]["heads"]) == (1, True)
    assert [item["name"] for item in others] == ["curves", "sinks"]
    files = [file for item in index["analyses"] for file in item["files"]]
    assert sorted([*files, "analysis.json", "report.html"]) == tree(trace / "analysis")


def test_the_generated_picture_is_shown(trace):
    """Sheets and files show what the trace generated, in its colours."""
    path = trace / "outputs/image-0.png"
    Image.new("RGB", (24, 40), (0, 200, 0)).save(path)
    digest = sha256(path.read_bytes()).hexdigest()
    edit(
        trace / MANIFEST,
        lambda fields: fields["identity"]["outputs"].update({"outputs/image-0.png": digest}),
    )
    with drawn():
        analyze(trace, words=["cat"], only=["words"])
    heatmaps = trace / "analysis/clip/heatmaps"
    assert (0, 200, 0) in colours(heatmaps / "words.png")
    assert (0, 200, 0) in colours(heatmaps / "words/001-cat.png")


def test_without_pictures(trace):
    """Tables alone can be had, without importing matplotlib."""
    code = (
        "import sys; from attn.verbs.analyze.analyze import analyze;"
        f"analyze({str(trace)!r}, pictures=False);"
        "print([name for name in ('matplotlib', 'torch') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
    assert tree(trace / "analysis") == TABLES


def test_words(trace):
    """Selected words choose rows and pictures."""
    analyze(trace, words=["CAT"], only=["words"])
    drawn = [file for file in tree(trace / "analysis") if "heatmaps/words/" in file]
    assert drawn == ["clip/heatmaps/words/001-cat.png"]
    with (trace / "analysis/clip/tables/words_summary.csv").open(encoding="utf-8") as stream:
        assert [row["word"] for row in csv.DictReader(stream)] == ["cat"]


def test_one_text(trace):
    """One word, phrase or analysis may be given without a list around it."""
    several = analyze(trace, words=["cat"], phrases=["a bobcat"], only=["words"], pictures=False)
    before = {file: file.read_bytes() for file in several.files if file.suffix == ".csv"}
    item = analyze(trace, words="cat", phrases="a bobcat", only="words", pictures=False)
    assert item.files == several.files
    assert {file: file.read_bytes() for file in before} == before


def test_results_are_replaced(analyzed):
    """A second analysis leaves nothing of the first."""
    analyze(analyzed, words=["cat"], pictures=False)
    assert tree(analyzed / "analysis") == TABLES
    assert [path.name for path in analyzed.iterdir() if path.name.startswith(".")] == []


def test_other_analyses_stay(analyzed):
    """An analysis that is asked for alone replaces its own results, and leaves those of others."""
    before = {name: (analyzed / "analysis" / name).stat().st_mtime_ns for name in FILES}
    analyze(analyzed, only=["sinks"], pictures=False)
    analyze(analyzed, only=["evolution"], words=["cat"], pictures=False)
    rest = [name for name in FILES if not (name.startswith("sinks/") and name.endswith(".png"))]
    files = tree(analyzed / "analysis")
    assert [name for name in files if not name.startswith("evolution/")] == rest
    kept = [name for name in rest if not name.startswith(("sinks/", "analysis.json", "report"))]
    assert all((analyzed / "analysis" / name).stat().st_mtime_ns == before[name] for name in kept)
    index = json.loads((analyzed / "analysis" / "analysis.json").read_text(encoding="utf-8"))
    assert [facts["name"] for facts in index["analyses"]] == [
        *("words", "curves", "sinks", "evolution")
    ]
    listed = [file for facts in index["analyses"] for file in facts["files"]]
    assert sorted([*listed, "analysis.json", "report.html"]) == files
    assert analyze(analyzed, pictures=False).traces[0].offered == ("concentration",)


@pytest.mark.parametrize("change", ["trace", "index", "file"])
def test_what_does_not_stay(trace, change):
    """Results of another trace go, as do those of an index that nobody can read."""
    analyze(trace, pictures=False)
    if change == "trace":
        edit(trace / MANIFEST, lambda fields: fields["request"].update(seed=8))
    elif change == "index":
        (trace / "analysis/analysis.json").write_text('{"schema": 1}')
    else:
        (trace / "analysis/sinks/sinks.csv").write_text("mine")
    if change == "index":  # it is not as it was written, so it is somebody else's
        with pytest.raises(AnalysisError, match=r"analysis.json is in the way"):
            analyze(trace, only=["curves"], pictures=False)
        return
    analyze(trace, only=["curves"], pictures=False)
    files = tree(trace / "analysis")
    assert ("clip/tables/words.csv" in files) == (change == "file")
    assert ("sinks/sinks.csv" in files) == (change == "file")


def test_other_analyses_of_a_collection_stay(collection):
    """The joined tables of analyses that do not run again stay, too, as does the page."""
    analyze(collection, pictures=False, report=Report())
    analyze(collection, only=["words"], pictures=False, report=Report())
    assert tree(collection / "analysis") == JOINED


def test_a_failed_analysis_keeps_the_results(analyzed, monkeypatch):
    """What was there stays as it was, whenever the failure comes."""
    before = tree(analyzed)

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("attn.verbs.analyze.traces.write_index", fail)
    with pytest.raises(TraceError, match="no space left"):
        analyze(analyzed, words=["cat"], pictures=False)
    with pytest.raises(AnalysisError, match="no word 'dog'"):
        analyze(analyzed, words=["dog"])
    assert tree(analyzed) == before


def test_out(trace, tmp_path):
    """Results can go elsewhere, and replace earlier ones there."""
    for _ in range(2):
        analyze(trace, out=tmp_path / "deep" / "results", pictures=False)
    assert tree(tmp_path / "deep") == [f"results/{file}" for file in TABLES]
    assert not (trace / "analysis").exists()


@pytest.mark.parametrize("index", ["{}", '{"schema": 2}', "[", '["schema"]'])
def test_an_index_of_others(trace, tmp_path, index):
    """A file that is called like our index makes no folder ours."""
    (tmp_path / "rp").mkdir()
    (tmp_path / "rp/thesis.txt").write_text("mine")
    (tmp_path / "rp/analysis.json").write_text(index)
    with pytest.raises(AnalysisError, match="rp is no folder of results of `attn analyze`, and"):
        analyze(trace, out=tmp_path / "rp", pictures=False)
    assert tree(tmp_path / "rp") == ["analysis.json", "thesis.txt"]


def test_hidden_folders_of_others(trace, tmp_path):
    """Folders with names like those of results stay, beside the trace's results and others."""
    for name in (".results-mine", "run/.analysis-notes"):
        for part in ("old", "new", "keep"):
            (tmp_path / name / part).mkdir(parents=True)
        (tmp_path / name / "keep/thesis.txt").write_text("mine")
    for out in (tmp_path / "results", None):
        analyze(trace, out=out, pictures=False)
    for name in (".results-mine", "run/.analysis-notes"):
        assert (tmp_path / name / "keep/thesis.txt").read_text() == "mine"
        assert {path.name for path in (tmp_path / name).iterdir()} == {"old", "new", "keep"}


def test_notes_among_results(trace):
    """What somebody put into the results is there after the next analysis."""
    analyze(trace, pictures=False)
    (trace / "analysis/clip/notes.txt").write_text("mine")
    analyze(trace, words=["cat"], pictures=False)
    assert tree(trace / "analysis") == sorted([*TABLES, "clip/notes.txt"])


@pytest.mark.parametrize("link", ["0002", "0002/analysis"])
def test_links_out_of_a_collection(collection, tmp_path, link):
    """Nothing is written through a link that leads out of the collection, but with --out."""
    target = tmp_path / "elsewhere"
    (collection / "0002/analysis").mkdir()
    (collection / link).rename(target)
    (collection / link).symlink_to(target)
    before = tree(target)
    done = analyze(collection, only=["words"], pictures=False, report=Report())
    assert done.traces[2].error.startswith(f"{collection / link} leads out of ")
    assert tree(target) == before
    done = analyze(
        collection, only=["words"], out=tmp_path / "out", pictures=False, report=Report()
    )
    assert done.traces[2].error is None


def test_foreign_folder(trace, tmp_path):
    """A folder with other things in it is never replaced."""
    for out in (trace, tmp_path):
        with pytest.raises(AnalysisError, match=r"is no folder of results of `attn analyze`"):
            analyze(trace, out=out)
    (tmp_path / "file").touch()
    with pytest.raises(AnalysisError, match="is a file"):
        analyze(trace, out=tmp_path / "file")


def test_partial_trace(tmp_path):
    """An interrupted capture is analysed as far as it went, over grey, with a warning."""
    trace = write_trace(tmp_path / "run", partial=True)
    done = analyze(trace)
    assert done.warnings == (
        f"{trace}: the capture was interrupted; its first 3 steps are analysed",
    )
    assert tree(trace / "analysis") == FILES


def test_reduced(tmp_path):
    """Without maps there are tables, and it is said what would bring the pictures."""
    trace = write_trace(tmp_path / "run", manifest(level="mass", samples=1))
    (warning,) = analyze(trace).warnings
    assert warning == (
        f"{trace}: 'words' has no heatmaps and peaks: they need maps of image.text, which were not "
        "kept; capture with --keep maps"
    )
    assert tree(trace / "analysis") == [
        file
        for file in FILES
        if not any(part in file for part in ("heatmaps", "base_", "dominant"))
    ]


def test_notes(tmp_path):
    """What an analysis remarks is a warning of the verb."""
    trace = write_trace(tmp_path / "run", manifest([joint_layer(0, (3, 5), 2)], samples=1))
    done = analyze(trace)
    expected = "the prompt did not fit into segment 't5': no token of bobcat"
    keys = "the masses of image keys, which were not kept; capture with --mass full"
    reduced = f"{trace}: 'sinks' has no sinks at image keys: they need {keys}"
    assert done.warnings == (reduced, f"{trace}: {expected}")
    assert "t5/heatmaps/words.png" in tree(trace / "analysis")


def test_picture_is_gone(trace):
    """A picture that the trace names but does not have is an error that says what to do."""
    (trace / "outputs/image-0.png").unlink()
    with pytest.raises(TraceError, match=r"image-0\.png: .* does not exist\..*: --no-pictures"):
        analyze(trace)
    analyze(trace, pictures=False)


def test_png_texts(with_phrase):
    """Every saved picture says of which prompt, seed and segment it is, what it shows, and how."""
    for picture in with_phrase[1].pictures:
        with Image.open(picture) as image:
            texts = image.text
        assert (texts["prompt"], texts["seed"], texts["backend"]) == (PROMPT, "7", "toy")
        assert texts["negative_prompt"] == "blurry cat"
        assert texts["Software"].startswith("attn")
        assert {"unit", "branch", "layers"} <= set(texts)


def test_phrases(with_phrase):
    """A phrase has tables, heatmaps and curves; one that is not there is an error."""
    trace, done = with_phrase
    files = {file.relative_to(trace / "analysis").as_posix() for file in done.files}
    tables = ("phrases", "phrases_summary", "phrases_auc", "phrases_stepavg")
    expected = {f"clip/tables/{name}.csv" for name in tables}
    expected |= {"clip/heatmaps/phrases.png", "clip/curves/phrases.png"}
    assert expected | {"clip/heatmaps/phrases/000-a-bobcat.png"} <= files
    with pytest.raises(AnalysisError, match="no phrase 'a dog': of its words the prompt has a"):
        analyze(trace, phrases=["a dog"])


def test_bag_of_phrases(trace):
    """Words that are not in a row fail in the analysis that is named; its advice helps all."""
    asked = {"phrases": ["bobcat cat"], "pictures": False}
    with pytest.raises(AnalysisError, match=r"'curves': .*; --set phrase_mode=bag takes"):
        analyze(trace, settings={"words.phrase_mode": "bag"}, **asked)
    done = analyze(trace, settings={"phrase_mode": "bag"}, **asked)
    written = {file.name for file in done.files}
    assert {"phrases.csv", "phrases_auc.csv"} <= written


def test_no_words(tmp_path):
    """Of an empty prompt there are sinks, and it is said why there is no more."""
    about = manifest(samples=1)
    tokens = {
        row: tuple(replace(token, word=None) for token in about.tokens[row]) for row in about.tokens
    }
    about = asked(replace(about, words=(), tokens=tokens), prompt="")
    trace = write_trace(tmp_path / "run", about)
    done = analyze(trace)
    expected = "'words' is skipped: it needs words, of which the prompt has none"
    assert done.warnings[0] == f"{trace}: {expected}"
    assert all("sinks/" in str(file) or file.suffix in (".json", ".html") for file in done.files)
    with pytest.raises(AnalysisError, match="'curves' needs words, of which the prompt has none"):
        analyze(trace, only=["curves"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"only": ["word"]}, "unknown analysis 'word'"),
        ({"settings": {"head": "yes"}}, "no analysis has an option 'head'. Did you mean 'heads'"),
        ({"settings": {"word.heads": "yes"}}, "unknown analysis 'word'. Did you mean 'words'"),
        ({"settings": {"words.head": "yes"}}, "analysis words has no option 'head'"),
        ({"topk": 0}, "topk must be at least 1; got 0"),
        ({"dpi": 5}, "dpi: expected 20 to 600; got 5"),
        ({"figsize": (0, 3)}, "figsize: expected a width and a height in inches.*got 0x3"),
        ({"figsize": (400, 300)}, "at 150 dpi at most 100 million pixels in all; got 400x300"),
    ],
)
def test_usage(trace, arguments, message):
    """What is wrong in the call itself is a usage error, before anything is read."""
    with pytest.raises(UsageError, match=message):
        analyze(trace, **arguments)


def test_settings_of_all(trace):
    """A setting without a name is that of every analysis that has it; a named one goes before."""
    settings = {"words.layers": "1", "layers": "3"}
    done = analyze(trace, settings=settings, only=["words", "curves", "sinks"], pictures=False)
    index = json.loads((done.path / "analysis/analysis.json").read_text())
    layers = {item["name"]: item["options"].get("layers") for item in index["analyses"]}
    assert layers == {"words": ["1"], "curves": ["3"], "sinks": ["3"]}


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """A trace and figures of the usual size."""
    trace = write_trace(tmp_path_factory.mktemp("usual") / "run")
    with drawn():
        analyze(trace, words=["cat"])
    return trace


@pytest.mark.parametrize(
    ("size", "factor"),
    [
        ({"dpi": 300, "only": ["curves", "sinks"]}, 2),
        ({"figsize": (3.0, 99.0), "only": ["curves", "sinks"]}, None),
        ({"dpi": 75, "only": ["words"]}, 0.5),
    ],
)
def test_size_of_pictures(usual, trace, size, factor):
    """Every picture has the resolution asked for, and fits the size asked for, undistorted."""
    with drawn():
        pictures = analyze(trace, words=["cat"], **size).pictures
    assert len(pictures) > 3
    for file in pictures:
        before, _ = _look(usual / file.relative_to(trace))
        pixels, dpi = _look(file)
        assert dpi == pytest.approx(size.get("dpi", 150), abs=0.1)
        assert np.abs(pixels - before * (factor or 450 / before[0])).max() <= 2


def _look(file):
    """Return width and height of a picture in pixels, and its pixels per inch."""
    with Image.open(file) as picture:
        return np.array(picture.size), picture.info["dpi"][0]


def test_films_are_pictures(tmp_path):
    """`attn capture --analyze` names what can be looked at, the animation too."""
    result = TraceResults(tmp_path, tmp_path, ("a.csv", "b.png", "c.gif", "analysis.json"))
    assert Analyzed(tmp_path, (result,)).pictures == (tmp_path / "b.png", tmp_path / "c.gif")


def test_no_trace(tmp_path):
    """A folder without a trace is an error."""
    with pytest.raises(TraceError, match=r"A trace is a folder with a trace\.json in it"):
        analyze(tmp_path)


def test_every_drawing_exists():
    """The function that each analysis names for its pictures is there."""
    for analysis in filter(lambda item: item.draw, registry.ANALYSES):
        module, _, name = str(analysis.draw).partition(":")
        assert callable(getattr(__import__(module, fromlist=[name]), name))


@pytest.fixture
def collection(tmp_path):
    """Two traces, one that failed, and one that is to come."""
    return fill(tmp_path)


def fill(path):
    """Write a collection below a path."""
    folder = path / "runs"
    for name, seed in (("0000", 0), ("0002", 2)):
        write_trace(folder / name, asked(manifest(samples=1), seed=seed))
    entries = (
        Entry("0000", "complete", PROMPT, 0),
        Entry("0001", "failed", PROMPT, 1, "out of memory"),
        Entry("0002", "complete", PROMPT, 2),
        Entry("0003", "pending", PROMPT, 3),
    )
    write_index(folder, entries)
    return folder


FAILED = (
    "2 of 4 traces failed, see .failures: 0001 (its capture failed: out of memory); "
    "0003 (it is not captured yet; `attn capture` with --resume goes on)"
)


@pytest.fixture(scope="module")
def gathered(tmp_path_factory):
    """A collection as above and its results, which no test changes, and what was warned of."""
    folder = fill(tmp_path_factory.mktemp("gathered"))
    with pytest.warns(UserWarning) as told:
        done = analyze(folder, pictures=False)
    return folder, done, [str(item.message) for item in told]


def test_collection(gathered):
    """The traces of a collection are analysed one by one; what is missing is reported."""
    collection, done, told = gathered
    assert told == [FAILED]
    assert [item.trace.name for item in done.failures] == ["0001", "0003"]
    assert [item.trace.name for item in done.traces if item.path] == ["0000", "0002"]
    assert [item.error for item in done.traces][1] == "its capture failed: out of memory"
    assert done.traces[3].error == "it is not captured yet; `attn capture` with --resume goes on"
    assert done.status == "partial"
    assert len(done.warnings) == 2
    assert tree(collection / "0002" / "analysis") == TABLES


def test_collection_tables(gathered):
    """The rows of all traces are in one table, with the trace, its prompt and its seed."""
    collection, done, _ = gathered
    assert tree(collection / "analysis") == JOINED
    assert done.summary.path == collection / "analysis"
    assert set(done.files) > {collection / "analysis" / file for file in JOINED}
    joined = read_csv(collection / "analysis/words_summary.csv")
    own = [
        {"trace": name, "prompt": PROMPT, "seed": seed} | row
        for name, seed in (("0000", "0"), ("0002", "2"))
        for row in read_csv(collection / name / "analysis/clip/tables/words_summary.csv")
    ]
    assert joined == own
    assert [row["trace"] for row in read_csv(collection / "analysis/traces.csv")] == [
        "0000",
        "0002",
    ]
    index = json.loads((collection / "analysis/analysis.json").read_text(encoding="utf-8"))
    assert [bool(item["error"]) for item in index["traces"]] == [False, True, False, True]


def test_collection_of_segments(tmp_path):
    """Tables of several segments are one joined table; what did not fit stands in traces.csv."""
    about = manifest([joint_layer(0, (3, 5), 2)], samples=1)
    prompt = f"{PROMPT} {'!' * 90}"
    write_trace(tmp_path / "0000", asked(about, prompt=prompt))
    write_index(tmp_path, (Entry("0000", "complete", prompt, 7),))
    analyze(tmp_path, pictures=False)
    rows = read_csv(tmp_path / "analysis/words_auc.csv")
    assert [row["segment"] for row in rows] == ["clip"] * 4 + ["t5"] * 3
    assert len(rows[0]["prompt"]) == 80
    (about,) = read_csv(tmp_path / "analysis/traces.csv")
    assert (about["truncated"], len(about["prompt"])) == ("t5", len(PROMPT) + 91)


def test_remarks_of_a_collection(tmp_path):
    """What is to be said of many traces is said once."""
    for seed, name in enumerate(("0000", "0001", "0002")):
        write_trace(tmp_path / name, asked(manifest(level="mass", samples=1), seed=seed))
    entries = [Entry(f"000{number}", "complete", PROMPT, number) for number in range(3)]
    write_index(tmp_path, entries)
    (warning,) = analyze(tmp_path, pictures=False).warnings
    assert warning.startswith(f"{tmp_path / '0000'} and 2 more: 'words' has no heatmaps")


def test_remarks_that_differ(tmp_path):
    """Prompts that lose different words are one remark, with the words of the first."""
    about = manifest([joint_layer(0, (3, 5), 2)], samples=1)
    shorter = tuple(token for token in about.tokens["cond"] if token.text != "▁cat")
    write_trace(tmp_path / "0000", asked(replace(about, tokens={"cond": shorter}), seed=0))
    write_trace(tmp_path / "0001", asked(about, seed=1))
    write_index(tmp_path, [Entry(f"000{number}", "complete", PROMPT, number) for number in (0, 1)])
    assert analyze(tmp_path, only=["words", "curves"], pictures=False).warnings == (
        f"{tmp_path / '0000'} and 1 more: the prompt did not fit into segment 't5': "
        "no token of cat, bobcat (this of 0000; others differ)",
    )


@pytest.fixture
def prompts(tmp_path):
    """Return a collection of three traces with different prompts."""
    about = manifest(samples=1)
    texts = ("A cat, a bobcat", "A dog, a bobcat", "A dog, a fox")
    for index, text in enumerate(texts):
        own = replace(about, words=find_words(text), request=replace(about.request, prompt=text))
        write_trace(tmp_path / f"{index:04d}", own)
    entries = [Entry(f"{index:04d}", "complete", text, 7) for index, text in enumerate(texts)]
    write_index(tmp_path, entries)
    return tmp_path


def test_phrases_that_some_prompts_lack(prompts):
    """A phrase is left out where a prompt lacks it; all else of that trace is there, and said."""
    done = analyze(prompts, phrases=["a bobcat", "a dog"], pictures=False)
    assert (done.status, done.failures) == ("complete", ())
    rows = read_csv(prompts / "analysis/phrases_summary.csv")
    assert [(row["trace"], row["phrase"]) for row in rows] == [
        ("0000", "a bobcat"),
        ("0001", "a bobcat"),
        ("0001", "a dog"),
        ("0002", "a dog"),
    ]
    traces = {row["trace"] for row in read_csv(prompts / "analysis/roles.csv")}
    assert traces == {"0000", "0001", "0002"}
    assert done.warnings == (
        f"{prompts / '0000'} and 1 more: words and phrases that the prompt does not have are left "
        "out: a dog (this of 0000; others differ)",
    )


def test_words_that_some_prompts_lack(prompts):
    """Where a prompt has none of the words, analyses of words are skipped, others run."""
    done = analyze(prompts, words=["cat", "fox"], pictures=False)
    rows = read_csv(prompts / "analysis/words_summary.csv")
    assert [(row["trace"], row["word"]) for row in rows] == [("0000", "cat"), ("0002", "fox")]
    assert done.status == "complete"
    reason = "one of the asked words, of which the prompt has none"
    assert done.traces[1].skipped == {"words": reason, "curves": reason}
    assert "sinks/sinks.csv" in done.traces[1].files


@pytest.mark.parametrize("word", ["cat", "a cat", "fox"])
def test_a_followed_word_that_some_prompts_lack(prompts, word):
    """Where a prompt lacks the word to follow, `evolution` is skipped, and that is no failure."""
    done = analyze(prompts, only="evolution", settings={"evolution.word": word}, pictures=False)
    assert (done.status, done.failures) == ("complete", ())
    ran = ["evolution/tokens.csv" in item.files for item in done.traces]
    assert ran == [word != "fox", False, word == "fox"]
    assert any(f"does not have are left out: {word}" in item for item in done.warnings)


@pytest.mark.parametrize(
    "asked",
    [
        {"words": ["cat", "cot"]},
        {"phrases": ["a bobcat", "a cot"]},
        {"only": ["evolution"], "settings": {"evolution.word": "cot"}},
    ],
)
def test_names_that_no_prompt_has(prompts, asked):
    """What is in no prompt is an error before anything is written."""
    name = "a cot" if "phrases" in asked else "cot"
    with pytest.raises(AnalysisError) as error:
        analyze(prompts, pictures=False, **asked)
    assert str(error.value) == (
        f"no prompt of {prompts} has '{name}': name what is in one of them; "
        f"{prompts / 'index.json'} lists them"
    )
    assert not list(prompts.rglob("analysis"))


def test_a_failed_collection_keeps_the_results(collection):
    """If no trace can be analysed, the joined tables stay as they were."""
    analyze(collection, only=["words"], pictures=False, report=Report())
    before = (collection / "analysis/words_summary.csv").read_bytes()
    with pytest.raises(AnalysisError):
        analyze(collection, words=["dog"], pictures=False)
    assert (collection / "analysis/words_summary.csv").read_bytes() == before


def test_collection_out(collection, tmp_path):
    """In another folder every trace has its own."""
    analyze(collection, pictures=False, out=tmp_path / "results", report=Report())
    expected = [f"{name}/{file}" for name in ("0000", "0002") for file in TABLES]
    expected += [f"analysis/{file}" for file in JOINED]
    assert tree(tmp_path / "results") == sorted(expected)


def test_collection_without_any(collection):
    """If no trace could be analysed, that is an error with the reasons."""
    with pytest.raises(AnalysisError, match="could be analysed") as failed:
        analyze(collection, settings={"layers": "9"})
    assert str(failed.value) == (
        f"no trace of {collection} could be analysed: 'words': no captured layer matches '9'; "
        "there are 1 (blocks.1.attn2) to 3 (blocks.3.attn2) (2 traces); its "
        "capture failed: out of memory (0001); it is not captured yet; `attn capture` with "
        "--resume goes on (0003)"
    )


def test_many_reasons(collection):
    """Of many reasons the first ones are named, and the rest counted."""
    entries = [Entry(f"{n:04}", "failed", PROMPT, n, f"reason {n}") for n in range(5)]
    write_index(collection, entries)
    with pytest.raises(AnalysisError, match=r"reason 2 \(0002\); and 2 more reasons$"):
        analyze(collection)
