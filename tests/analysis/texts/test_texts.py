"""Analyses of written texts, against their formulas in float64."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr

from attn.analysis import registry
from attn.analysis.texts import blocks as text_blocks
from attn.analysis.texts import flow, influence, similarity, texts, unmasking
from attn.analysis.texts import matrices as text_matrices
from attn.analysis.texts import patterns as text_patterns
from attn.analysis.texts import report as reports
from attn.errors import AnalysisError
from attn.viz.figures import Subject
from attn.viz.texts import matrices
from tests.helpers.toy_texts import (
    BLOCKS,
    COUNTS,
    HEADS,
    LENGTH,
    PROMPT,
    SAMPLES,
    STEPS,
    confidence,
    decided,
    make_text,
)
from tests.helpers.toy_traces import make_trace

HALF = 2**-11 * LENGTH
"""What float16 maps may cost a sum of a row, and 1."""
ALL = ("unmasking", "flow", "patterns", "matrices", "influence", "similarity", "blocks")
"""Those that write tables and draw."""


@pytest.fixture(scope="module")
def text():
    """A trace of two texts, and its probs (step, layer, sample, head, query, key)."""
    return make_text()


def rows_of(result, name):
    """Return the rows of a table as dicts; there are some."""
    rows = result.tables[name].to_dict("records")
    assert rows
    return rows


def place(row):
    """Return the place of a row's layer among the toy's layers."""
    return {1: 0, 4: 1}[int(row["layer"])]


def test_which_run(text):
    """On a text these run and no others; on a picture they are no matter."""
    plan = registry.plan(text[0])
    assert ({item.name for item in plan.runnable}, plan.skipped) == ({*ALL, "report"}, {})
    drawn = make_trace()
    assert not set(ALL) & set(registry.plan(drawn).skipped)
    with pytest.raises(AnalysisError, match="'flow' needs a text that the model wrote"):
        registry.plan(drawn, ["flow"])


@pytest.mark.parametrize("level", ["mass", "means"])
def test_without_maps(level):
    """A trace without maps of every step still says who read whom and which tokens are read."""
    plan = registry.plan(make_text(level=level)[0])
    assert {item.name for item in plan.runnable} == {"flow", "influence"}
    assert "--keep maps" in str(plan.skipped["patterns"])


@pytest.mark.parametrize("heads", [False, True])
def test_flow(text, heads):
    """Each mass is the mean over rows of the probability on the segment; sums count the rows."""
    trace, exact = text
    rows = rows_of(flow.run(trace, flow.FlowOptions(heads=heads)), "flow/flow.csv")
    assert len(rows) == 4 * 2 * STEPS * SAMPLES * (1 + HEADS * heads)
    span = {"prompt": slice(0, PROMPT), "generated": slice(PROMPT, None)}
    for row in rows:
        item = exact[row["step"], place(row), row["sample"]]
        item = item.mean(0) if row["head"] == "mean" else item[int(row["head"])]
        block = item[span[row["rows"]], span[row["keys"]]]
        assert row["mass"] == pytest.approx(block.sum(1).mean(), abs=1e-6)
        assert row["sum"] == pytest.approx(block.sum(), abs=1e-5)


def test_flow_summary(text):
    """The two sums are those of MMaDA's visualisation: text on prompt, prompt on text."""
    trace, exact = text
    for row in rows_of(flow.run(trace, flow.FlowOptions()), "flow/flow_summary.csv"):
        mean = exact[:, place(row), row["sample"]].mean((0, 1))
        sums = mean[PROMPT:, :PROMPT].sum(), mean[:PROMPT, PROMPT:].sum()
        assert row["prompt_to_generated_sum"] == pytest.approx(sums[0], abs=1e-5)
        assert row["generated_to_prompt_sum"] == pytest.approx(sums[1], abs=1e-5)
        assert row["ratio"] == pytest.approx(sums[0] / sums[1], rel=1e-5)


def test_flow_knows_its_prompt(text):
    """Masses are of the run's own segments: another length changes nothing, and that is said."""
    own, other = (
        flow.run(text[0], flow.FlowOptions(prompt_length=length)) for length in (PROMPT, 3)
    )
    assert rows_of(other, "flow/flow.csv") == rows_of(own, "flow/flow.csv")
    assert own.notes == ()
    assert other.notes == (
        "'flow' does not read prompt_length: its masses were folded while capturing, over the 5 "
        "positions of the run's own prompt",
    )


@pytest.mark.parametrize("prompt", [None, 3])
def test_patterns(text, prompt):
    """Every measure is what its definition says, by plain loops over the matrix."""
    trace, exact = text
    options = text_patterns.Options(prompt_length=prompt)
    for row in rows_of(text_patterns.run(trace, options), "patterns/patterns.csv"):
        full = exact[row["step"], place(row), row["sample"]]
        mean = full.mean(0)
        start = PROMPT if prompt is None else prompt
        text_rows = range(start, LENGTH)
        apart = sum(mean[i, j] * abs(i - j) for i in range(LENGTH) for j in range(LENGTH))
        assert row["entropy"] == pytest.approx(-(full * np.log(full)).sum(-1).mean(), abs=1e-5)
        assert row["density"] == pytest.approx(LENGTH * mean.max(), rel=1e-3)
        assert row["focus"] == pytest.approx(np.trace(mean) / LENGTH, abs=HALF)
        assert row["distance"] == pytest.approx(apart / LENGTH, rel=1e-3)
        assert row["earlier"] == pytest.approx(
            np.mean([mean[i, :i].sum() for i in text_rows]), abs=HALF
        )
        assert row["own"] == pytest.approx(np.mean([mean[i, i] for i in text_rows]), abs=HALF)
        assert row["later"] == pytest.approx(
            np.mean([mean[i, i + 1 :].sum() for i in text_rows]), abs=HALF
        )


def test_profile(text):
    """The profile is the mass at every distance, and sums to 1."""
    trace, exact = text
    rows = rows_of(text_patterns.run(trace, text_patterns.Options()), "patterns/profile.csv")
    for row in rows:
        mean = exact[:, place(row), row["sample"]].mean((0, 1))
        apart = np.abs(np.subtract.outer(np.arange(LENGTH), np.arange(LENGTH)))
        assert row["mass"] == pytest.approx(mean[apart == row["distance"]].sum() / LENGTH, abs=HALF)
    assert sum(row["mass"] for row in rows) == pytest.approx(2 * SAMPLES, abs=HALF)


def test_influence(text):
    """A token's mass is its column's mean, its column sum the sum, over all rows."""
    trace, exact = text
    rows = rows_of(influence.run(trace, influence.InfluenceOptions()), "influence/tokens.csv")
    assert len(rows) == 2 * SAMPLES * LENGTH
    for row in rows:
        mean = exact[:, place(row), row["sample"]].mean((0, 1))
        assert row["mass"] == pytest.approx(mean[:, row["position"]].mean(), abs=1e-6)
        assert row["column_sum"] == pytest.approx(mean[:, row["position"]].sum(), abs=1e-5)
        assert row["token"] == f"t{row['position']}"
        assert row["segment"] == ("prompt" if row["position"] < PROMPT else "generated")


def test_max_tokens(text):
    """Only so many tokens are listed, and the numbers stay those of the whole matrix."""
    whole, cut = (
        rows_of(
            influence.run(text[0], influence.InfluenceOptions(max_tokens=most)),
            "influence/tokens.csv",
        )
        for most in (None, 7)
    )
    assert cut == [row for row in whole if row["position"] < 7]


@pytest.mark.parametrize("heads", [False, True])
def test_sinks(text, heads):
    """A sink's column sum exceeds the mean of the others by more than epsilon."""
    trace, exact = text
    options = influence.InfluenceOptions(epsilon=2.0, heads=heads)
    rows = rows_of(influence.run(trace, options), "influence/sinks.csv")
    result = {(r["layer"], r["step"], r["sample"], r["head"], r["position"]) for r in rows}
    expected = set()
    seen = exact if heads else exact.mean(3, keepdims=True)
    for step, number, sample, head, position in np.ndindex(*seen.shape[:4], LENGTH):
        sums = seen[step, number, sample, head].sum(0)
        if sums[position] > np.delete(sums, position).mean() + 2:
            name = str(head) if heads else "mean"
            expected.add(((1, 4)[number], step, sample, name, position))
    assert result == expected
    assert {position for *_, position in result} >= {3}


def test_sink_moves(text):
    """Whether sinks stay is how many they have in common from step to step, by plain sets."""
    trace, _ = text
    options = influence.InfluenceOptions(epsilon=1.0)
    result = influence.run(trace, options)
    sinks = rows_of(result, "influence/sinks.csv")
    for row in rows_of(result, "influence/sink_moves.csv"):
        own = [
            item
            for item in sinks
            if (item["layer"], item["sample"]) == (row["layer"], row["sample"])
        ]
        sets = [{item["position"] for item in own if item["step"] == step} for step in range(STEPS)]
        overlaps = [
            len(now & after) / len(now | after) for now, after in pairwise(sets) if now | after
        ]
        assert row["stay"] == pytest.approx(np.mean(overlaps))
        assert row["positions"] == len(set.union(*sets))
        assert row["always"] == len(set.intersection(*sets))
        assert row["sinks_per_step"] == pytest.approx(np.mean([len(item) for item in sets]))
    shares = result.arrays["sinks"]
    number = sum(
        1 for item in sinks if (item["step"], item["sample"], item["position"]) == (0, 1, 3)
    )
    assert float(shares.sel(step=0)[1, 3]) == number / 2


def test_still_and_moving_sinks():
    """Sinks that never move stay at 1, sinks that always move at 0, and none are no number."""
    still, moving = np.zeros((4, 7), bool), np.eye(4, 7, dtype=bool)
    assert np.isnan(influence.how_still(still))
    still[:, 2] = True
    assert (influence.how_still(still), influence.how_still(moving)) == (1, 0)


def test_no_sinks(text):
    """Without a sink there is a note, and no empty table."""
    result = influence.run(text[0], influence.InfluenceOptions(epsilon=50.0))
    assert "influence/sinks.csv" not in result.tables
    assert result.notes == ("no token is a sink by the rule of epsilon 50",)


def test_similarity(text):
    """Layers are compared by the cosine of their mean maps."""
    trace, exact = text
    for row in rows_of(similarity.run(trace, similarity.Options()), "similarity/similarity.csv"):
        maps = [
            exact[:, {1: 0, 4: 1}[int(row[name])], row["sample"]].mean((0, 1)).ravel()
            for name in ("layer", "other")
        ]
        cosine = maps[0] @ maps[1] / np.sqrt((maps[0] @ maps[0]) * (maps[1] @ maps[1]))
        assert row["similarity"] == pytest.approx(cosine, abs=1e-3)


def test_decisions(text):
    """Every decided position is listed once per layer, with what its row read at that step."""
    trace, exact = text
    rows = rows_of(unmasking.run(trace, unmasking.Options()), "unmasking/decisions.csv")
    assert len(rows) == 2 * SAMPLES * sum(COUNTS)
    for row in rows:
        step, sample, position = row["step"], row["sample"], row["position"]
        assert position in decided(sample, step)
        assert row["confidence"] == pytest.approx(confidence(sample, step, position))
        masked = {p for later in range(step, STEPS) for p in decided(sample, later)}
        read = exact[step, place(row), sample].mean(0)[position]
        rest = set(range(PROMPT, LENGTH)) - masked
        assert row["prompt"] == pytest.approx(read[:PROMPT].sum(), abs=HALF)
        assert row["masked"] == pytest.approx(read[sorted(masked - {position})].sum(), abs=HALF)
        assert row["decided"] == pytest.approx(read[sorted(rest)].sum(), abs=HALF)
        assert row["own"] == pytest.approx(read[position], abs=HALF)
        assert row["token"] == (f"t{position}" if sample == 0 else "")


def test_states(text):
    """Rows of each state share their mass out to the three states, whose even share is given."""
    trace, exact = text
    rows = rows_of(unmasking.run(trace, unmasking.Options()), "unmasking/states.csv")
    for row in rows:
        masked = {p for later in range(row["step"], STEPS) for p in decided(row["sample"], later)}
        states = {
            "prompt": list(range(PROMPT)),
            "masked": sorted(masked),
            "decided": sorted(set(range(PROMPT, LENGTH)) - masked),
        }
        mean = exact[row["step"], place(row), row["sample"]].mean(0)
        block = mean[np.ix_(states[row["rows"]], states[row["keys"]])]
        assert row["mass"] == pytest.approx(block.sum(1).mean(), abs=HALF)
        assert row["even"] == pytest.approx(len(states[row["keys"]]) / LENGTH)
    first = [row for row in rows if row["step"] == 0]
    assert {row["rows"] for row in first} == {"prompt", "masked"}


def test_curves_of_states(text):
    """What is drawn over the steps is the mean of the table's masses over the layers."""
    result = unmasking.run(text[0], unmasking.Options())
    rows = rows_of(result, "unmasking/states.csv")
    for name, column in (("states", "mass"), ("even", "even")):
        array = result.arrays[name]
        for row in rows:
            cell = {key: row[key] for key in ("rows", "keys", "step")}
            own = [
                item[column]
                for item in rows
                if (cell | {"sample": row["sample"]}).items() <= item.items()
            ]
            assert float(array.sel(cell)[row["sample"]]) == pytest.approx(np.mean(own))
    assert np.isnan(result.arrays["states"].sel(rows="decided", step=0).values).all()


def test_prompt_of_decisions(text):
    """A point of the picture is one decision's mass on the prompt, mean over the layers."""
    result = unmasking.run(text[0], unmasking.Options())
    array = result.arrays["on_prompt"]
    decisions = rows_of(result, "unmasking/decisions.csv")
    for row in decisions:
        cell = {key: row[key] for key in ("step", "position", "sample")}
        own = [decision["prompt"] for decision in decisions if cell.items() <= decision.items()]
        actual = array.sel(step=row["step"], position=row["position"])[row["sample"]]
        assert float(actual) == pytest.approx(np.mean(own))


def test_blocks():
    """While a block is written, what its rows read of prompt and blocks is summed up, per row."""
    trace, exact = make_text()
    request = replace(trace.manifest.request, options={"block_length": 3})
    trace.manifest = replace(trace.manifest, request=request)
    spans = {"prompt": slice(0, 5), "block 0": slice(5, 8), "block 1": slice(8, 11)}
    steps = {0: [0, 1], 1: [2, 3]}
    rows = rows_of(text_blocks.run(trace, text_blocks.Options()), "blocks/blocks.csv")
    assert len(rows) == 2 * SAMPLES * 2 * 9
    for row in rows:
        mean = exact[steps[row["written"]], place(row), row["sample"]].mean((0, 1))
        block = mean[spans[row["rows"]], spans[row["keys"]]]
        assert row["mass"] == pytest.approx(block.sum(1).mean(), abs=HALF)
        assert row["even"] == pytest.approx(block.shape[1] / LENGTH)


def report_of(trace, **options):
    """Return the four documents of the first text, as somebody else would read them."""
    files = reports.run(trace, reports.TextReportOptions(**options)).files
    assert len(files) == 4 * SAMPLES
    return {
        path.split("/")[-1].removesuffix(".json"): json.loads(
            json.dumps(file.content, allow_nan=False)
        )
        for path, file in files.items()
        if "sample-0" in path
    }


def test_report(text):
    """The report has every section, and its numbers are those of the formulas upstream."""
    trace, exact = text
    result = report_of(trace)
    report = result["attention_analysis_report"]
    assert list(report) == [
        *("metadata", "statistics", "attention_patterns", "token_influence"),
        *("causal_attention", "summary"),
    ]
    assert report["metadata"]["prompt_length"] == PROMPT
    assert report["statistics"]["matrices"] == 2 * STEPS
    mean = exact[:, :, 0].mean(2)  # of the heads: (step, layer, query, key)
    for number, path in enumerate(("layers.1", "layers.4")):
        flat = mean[:, number].reshape(STEPS, -1) / LENGTH
        patterns = report["attention_patterns"][path]
        density = LENGTH * mean[:, number].max((1, 2))
        entropy = -(flat * np.log(flat)).sum(1)
        assert patterns["density"]["std"] == pytest.approx(density.std(), abs=0.02)
        assert patterns["matrix_entropy"]["mean"] == pytest.approx(entropy.mean(), abs=1e-3)
        cross = result["token_analysis"]["cross_attention"]["layers"][path]
        sums = mean[:, number].mean(0)[PROMPT:, :PROMPT].sum()
        assert cross["prompt_to_generated_sum"] == pytest.approx(sums, abs=HALF)
        causal = result["causal_attention_analysis"]["layers"][path]
        earlier = [
            100 * np.mean([item[i, :i].sum() for i in range(PROMPT, LENGTH)])
            for item in mean[:, number]
        ]
        assert causal["earlier_percent"] == pytest.approx(np.mean(earlier), abs=0.5)
        assert causal["consistency"] == pytest.approx(1 / (1 + np.std(earlier)), abs=0.02)
        assert causal["bucket"] == reports.bucket(causal["earlier_percent"])
        assert "heads" not in causal
        assert len(result["attention_summary"]["layers"][path]["focus"]) == STEPS


def test_report_of_tokens(text):
    """Every token has the sum of its column, under the name that upstream gives it."""
    trace, exact = text
    tokens = report_of(trace, max_tokens=7)["token_analysis"]
    assert len(tokens["prompt_tokens"]) == PROMPT
    assert list(tokens["generated_tokens"]) == ["token_5", "token_6"]
    item = tokens["generated_tokens"]["token_6"]
    column = exact[:, :, 0].mean((0, 1, 2))[:, 6]
    assert item["avg_outgoing_influence"] == pytest.approx(column.sum(), abs=1e-5)
    assert item["incoming_mass"] == pytest.approx(column.mean(), abs=1e-6)
    assert (item["position"], item["token"]) == (6, "t6")


@pytest.mark.parametrize("level", ["heads", "factors"])
def test_report_of_heads(level):
    """With head maps or factors the causal split is that of every head, the most causal first."""
    trace, exact = make_text(level=level)
    for number, facts in enumerate(
        report_of(trace)["causal_attention_analysis"]["layers"].values()
    ):
        shares = [fact["earlier_percent"] for fact in facts["heads"]]
        assert shares == sorted(shares, reverse=True)
        for fact in facts["heads"]:
            maps = exact[:, number, 0, fact["head"]].mean(0)
            earlier = np.mean([maps[i, :i].sum() for i in range(PROMPT, LENGTH)])
            assert fact["earlier_percent"] == pytest.approx(100 * earlier, abs=0.5)


def test_raw_data(text, monkeypatch):
    """The matrices are in the report when asked for, and refused where they are too many."""
    trace, exact = text
    raw = report_of(trace, raw=True, max_tokens=3, steps=("2",))["attention_analysis_report"][
        "raw_data"
    ]
    assert list(raw) == ["layers.1", "layers.4"]
    values = np.array(raw["layers.4"]["step_2"])
    assert np.abs(values - exact[2, 1, 0].mean(0)[:3, :3]).max() < 1e-3
    monkeypatch.setattr(reports, "MOST", 900)
    with pytest.raises(AnalysisError, match="the raw matrices are 968 numbers, more than 900"):
        reports.run(trace, reports.TextReportOptions(raw=True))


@pytest.mark.parametrize(
    ("percent", "name"),
    [(80.0, "above 80 %"), (79.9, "50 to 80 %"), (45.0, "40 to 50 %"), (3.0, "below 20 %")],
)
def test_buckets(percent, name):
    """Layers are sorted into upstream's five classes."""
    assert reports.bucket(percent) == name


def count_masked(frame):
    """Return how many pixels have the colour of what is still masked, as near as a GIF has it."""
    from attn.viz.texts.animation import MASKED

    return int((np.abs(np.asarray(frame.convert("RGB"), int) - MASKED).max(-1) < 3).sum())


def test_film(text, tmp_path):
    """The text appears step by step: a frame before, one for each step, and the whole text."""
    from PIL import Image, ImageSequence

    from attn.verbs.analyze.figures import draw_result

    result = unmasking.run(text[0], unmasking.Options())
    files = draw_result("attn.viz.texts.texts:draw_unmasking", result, text[0], tmp_path)
    films = [file for file in files if file.endswith(".gif")]
    assert films == [f"unmasking/unmasking-sample-{sample}.gif" for sample in range(SAMPLES)]
    with Image.open(tmp_path / films[0]) as film:
        assert film.n_frames == STEPS + 2
        assert b"prompt: who?" in film.info["comment"]
        masked = [count_masked(frame) for frame in ImageSequence.Iterator(film)]
    assert masked[0] > 0 == masked[-1]
    assert masked == sorted(masked, reverse=True)


def test_many_steps_share_frames(text):
    """However many steps there are, a film stays short, and ends with everything decided."""
    import xarray as xr

    from attn.viz.texts import animation

    values = np.where(np.eye(331, 331, dtype=bool), 0.5, np.nan)
    coords = {"step": range(331), "token": ("position", [f"t{place}" for place in range(331)])}
    frames, durations = animation.animate(
        xr.DataArray(values, coords, ("step", "position")), "who?"
    )
    assert len(durations) == animation.MOST + 2 == sum(1 for _ in frames)
    assert sum(durations) < 12_000


def test_correlation(text):
    """Confidence is correlated with the mass on the prompt, layer by layer."""
    result = unmasking.run(text[0], unmasking.Options())
    decisions = rows_of(result, "unmasking/decisions.csv")
    for row in rows_of(result, "unmasking/correlation.csv"):
        own = [item for item in decisions if item["layer"] == row["layer"]]
        pairs = np.array([[item["confidence"], item["prompt"]] for item in own])
        assert row["decisions"] == len(own)
        assert row["r"] == pytest.approx(np.corrcoef(pairs.T)[0, 1])


@pytest.mark.parametrize("name", ALL)
def test_choices(text, name):
    """Layers and steps are chosen by what is typed; what is not there is refused."""
    analysis = registry.find(name)
    result = analysis.run(text[0], analysis.Options(layers=("4",), steps=("1-2",)))
    table = next(iter(result.tables.values()))
    assert set(table["layer"].tolist()) == {4}
    assert "step" not in table or set(table["step"].tolist()) == {1, 2}
    first = analysis.run(text[0], analysis.Options(max_layers=1))
    assert set(next(iter(first.tables.values()))["layer"].tolist()) == {1}
    with pytest.raises(AnalysisError, match="no captured layer matches '9'"):
        analysis.run(text[0], analysis.Options(layers=("9",)))
    with pytest.raises(AnalysisError, match="branch 'uncond' was not captured"):
        analysis.run(text[0], analysis.Options(branch="uncond"))


def test_prompt_length(text):
    """A prompt as long as the sequence leaves no text."""
    with pytest.raises(AnalysisError, match="leaves nothing of the 11 positions"):
        text_patterns.run(text[0], text_patterns.Options(prompt_length=11))
    with pytest.raises(ValueError, match="prompt_length must be at least 1; got 0"):
        text_patterns.Options(prompt_length=0)


@pytest.mark.parametrize("name", ALL)
def test_pictures(text, name, tmp_path):
    """Every analysis draws one picture per text, which says what it is of."""
    from PIL import Image

    from attn.verbs.analyze.figures import draw_result

    analysis = registry.find(name)
    result = analysis.run(text[0], analysis.Options())
    files = draw_result(analysis.draw, result, text[0], tmp_path)
    whole = "layers" if name == "matrices" else name
    names = [f"{name}/{whole}-sample-{sample}.png" for sample in range(SAMPLES)]
    assert [file for file in files if file in names] == names
    with Image.open(tmp_path / files[1]) as picture:
        assert int(picture.text["sample"]) in range(SAMPLES)
        assert picture.width > 300


def test_pairs(text):
    """The strongest pairs are the largest cells of the mean over the steps, largest first."""
    trace, exact = text
    rows = rows_of(
        text_matrices.run(trace, text_matrices.MatricesOptions(topk=3)), "matrices/pairs.csv"
    )
    assert len(rows) == 2 * SAMPLES * 3
    for row in rows:
        mean = exact[:, place(row), row["sample"]].mean((0, 1))
        assert row["mass"] == pytest.approx(mean[row["query"], row["key"]], abs=1e-3)
        assert row["mass"] >= np.sort(mean.ravel())[-3] - 1e-3
    first = [row["mass"] for row in rows[:3]]
    assert first == sorted(first, reverse=True)


def test_matrices(text):
    """What is drawn is the mean, the first and the last step, and last minus first."""
    trace, exact = text
    options = text_matrices.MatricesOptions(max_tokens=7)
    drawn = text_matrices.run(trace, options).arrays["layers"]
    assert dict(drawn.sizes) == {"layer": 2, "kind": 4, "sample": SAMPLES, "query": 7, "key": 7}
    mean = exact.mean(3)[..., :7, :7]
    expected = [mean.mean(0), mean[0], mean[-1], mean[-1] - mean[0]]
    for kind, item in enumerate(expected):
        assert np.abs(drawn.values[:, kind] - item).max() < 1e-3


def test_evolution(text):
    """What is drawn over the steps is what the text's rows read of the keys in each state."""
    trace, exact = text
    read = text_matrices.run(trace, text_matrices.MatricesOptions()).arrays["read"]
    for step, sample in np.ndindex(STEPS, SAMPLES):
        masked = [p for later in range(step, STEPS) for p in decided(sample, later)]
        rest = sorted(set(range(PROMPT, LENGTH)) - set(masked))
        mean = exact[step, :, sample].mean(1)[:, PROMPT:]
        for state, keys in (("prompt", range(PROMPT)), ("masked", masked), ("decided", rest)):
            expected = mean[..., list(keys)].sum(-1).mean(-1)
            assert np.abs(read.sel(state=state, step=step)[:, sample] - expected).max() < HALF


@pytest.mark.parametrize("settings", [{"topk": 0}, {"size": 40.0}, {"max_tokens": 0}])
def test_bad_sizes(settings):
    """Pictures of no size, or of one that fills the memory, are refused."""
    with pytest.raises(ValueError, match="must be"):
        text_matrices.MatricesOptions(**settings)


def test_several_texts_have_no_tokens(text):
    """Where the trace knows the masks alone, positions are named by their number."""
    trace, _ = make_text()
    masks = [
        replace(token, id=90, text="<mask>") if token.position >= PROMPT else token
        for token in trace.tokens()
    ]
    trace.manifest = replace(trace.manifest, tokens={"cond": tuple(masks)})
    rows = rows_of(influence.run(trace, influence.InfluenceOptions()), "influence/tokens.csv")
    assert [row["token"] for row in rows[:LENGTH]] == [
        *(f"t{place}" for place in range(PROMPT)),
        *(f"[{place}]" for place in range(PROMPT, LENGTH)),
    ]


def test_one_position(text):
    """A text of one token repeated has a name for it, as every text that was written."""
    trace, _ = make_text()
    same = [replace(token, id=77, text="so") for token in trace.tokens()[PROMPT:]]
    tokens = {"cond": (*trace.tokens()[:PROMPT], *same)}
    trace.manifest = replace(trace.manifest, tokens=tokens)
    last = trace.manifest.shards[-1].file
    trace._source.read(last, "step/tokens")[..., PROMPT:] = 77
    rows = rows_of(influence.run(trace, influence.InfluenceOptions()), "influence/tokens.csv")
    assert [row["token"] for row in rows[PROMPT:LENGTH]] == ["so"] * (LENGTH - PROMPT)


@pytest.mark.parametrize("level", ["heads", "factors"])
def test_heads_of_matrices(level):
    """Every head of the first and last step is drawn from head maps, or recomputed from factors."""
    trace, exact = make_text(level=level)
    heads = text_matrices.run(trace, text_matrices.MatricesOptions()).arrays["heads"]
    expected = exact[[0, -1]].swapaxes(0, 1)
    np.testing.assert_allclose(heads.values, expected, atol=2**-11)
    np.testing.assert_allclose(heads.values.sum(-1), 1, atol=1e-6)


def test_rows_sum_to_one(text):
    """What float16 cost the sums of rows is made good: shares sum to 1, to the last digit."""
    choice = texts.choose(text[0], texts.TextOptions())
    for _, _, maps in texts.read_maps(text[0], choice):
        np.testing.assert_allclose(maps.sum(-1), 1, rtol=1e-14)


def test_flow_of_other_blocks(text):
    """Who reads whom comes from masses alone, whichever maps were asked for."""
    trace, _ = make_text()
    whole = flow.run(trace, flow.FlowOptions())
    layers = tuple(
        replace(layer, blocks=("generated.prompt", *BLOCKS[1:])) for layer in trace.layers
    )
    kept = replace(trace.manifest.kept, blocks=("generated.prompt",))
    trace.manifest = replace(trace.manifest, layers=layers, kept=kept)
    plan = registry.plan(trace)
    assert [item.name for item in plan.runnable] == ["flow"]
    result = flow.run(trace, flow.FlowOptions())
    assert rows_of(result, "flow/flow.csv") == rows_of(whole, "flow/flow.csv")


def test_sheets_name_tokens():
    """Of a sheet of matrices the left ones name their rows, and the lowest their columns."""
    trace, _ = make_text(samples=1, level="heads")
    result = text_matrices.run(trace, text_matrices.MatricesOptions())
    heads = result.arrays["heads"]
    result.arrays["heads"] = xr.concat([heads, heads.isel(head=[0])], "head")  # three and one below
    subject = Subject("who?", 7, "toy", (None,))
    drawn = {picture.path: picture.figure for picture in matrices.draw(result, subject)}
    figure = drawn["matrices/step_0000/layer_01_all_heads.png"]
    panels = [axes for axes in figure.axes if axes.images]
    rows = [[label.get_text() for label in axes.get_yticklabels()] for axes in panels]
    columns = [[label.get_text() for label in axes.get_xticklabels()] for axes in panels]
    tokens = [f"t{place}" for place in range(LENGTH)]
    assert rows == [tokens, [], [], tokens]
    assert columns == [[], tokens, tokens, tokens]
