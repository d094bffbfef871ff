"""One finder of words and phrases for every verb, and which tokens it gives to them."""

from dataclasses import replace
from unicodedata import normalize

import numpy as np
import pytest

from attn.analysis.compare.pairs import PairOptions, compare_pair
from attn.analysis.compare.terms import find_terms
from attn.analysis.sketch import sketch
from attn.analysis.words import evolution, words
from attn.analysis.words.selection import Choice, choose
from attn.errors import AnalysisError
from attn.schema import Column, Segment, Token, find_words, word_at
from attn.trace.words.prompts import read_prompt
from attn.verbs.compare.requirements import require_in_prompts
from tests.helpers.toy_traces import make_trace, manifest, tensors

CHINESE = "一只红色的猫坐在猫上"
CASES = [
    ("a red, cat on a mat", "red cat", ["red, cat"]),
    ("la la la land", "la la", ["la la"]),
    ("Cat and CAT", "cat", ["Cat", "CAT"]),
    ("the cat's isn’t", "isn’t", ["isn’t"]),
    ("l’été, l’hiver", "L’ÉTÉ", ["l’été"]),
    (normalize("NFD", "a café here"), "café", [normalize("NFD", "café")]),
    ("a café here", normalize("NFD", "café"), ["café"]),
    ("24-bit AC/DC", "ac dc", ["AC/DC"]),
    (CHINESE, "猫", ["猫", "猫"]),
    (CHINESE, "红色的猫", ["红色的猫"]),
    ("赤い猫 と 青い椅子", "椅子", ["椅子"]),
    ("एक लाल बिल्ली", "लाल बिल्ली", ["लाल बिल्ली"]),
    ("قطة حمراء", "حمراء", ["حمراء"]),
    ("แมวสีแดง", "สีแดง", ["สีแดง"]),
    ("🐈 cat 👩🏽\u200d🚀 dog", "cat dog", ["cat 👩🏽\u200d🚀 dog"]),
    (normalize("NFD", "빨간 고양이"), "고양이", [normalize("NFD", "고양이")]),
    ("İstanbul STRASSE", "straße", ["STRASSE"]),
    ("a\u00a0red\tcat", "red cat", ["red\tcat"]),
    ("red cat, red cat", "red cat", ["red cat", "red cat"]),
    ("a category", "cat", []),
    ("a red dog cat", "red cat", []),
]


def toy(prompt, size=1, segment="clip"):
    """Describe a trace that reads a prompt in tokens of so many characters."""
    read = find_words(prompt)
    tokens = [
        Token(index, segment, 5, prompt[at : at + size], False, False, at, at + size, owner)
        for index, at in enumerate(range(0, len(prompt), size))
        for owner in [word_at(read, at, at + size)]
    ]
    about = manifest()
    request = replace(about.request, prompt=prompt)
    return replace(about, request=request, words=read, tokens={"cond": tuple(tokens)})


def covered(places, tokens, prompt):
    """Return the text between the first and the last token of each set of positions."""
    own = [[token for token in tokens if token.position in some] for some in places]
    return [prompt[some[0].start : some[-1].stop] for some in own]


def analysed(about, name, prompt):
    """Return what `analyze` and `sketch` find, as phrases and, if it is one word, as words."""
    selected = choose(make_trace(about, tensors(manifest())), Choice(phrases=(name,)))
    runs = [phrase.words for phrase in selected.phrases]
    indices = [[t.position for t in selected.tokens if t.word in run] for run in runs]
    return covered(indices, selected.tokens, prompt)


@pytest.mark.parametrize(("prompt", "name", "expected"), CASES)
def test_one_finder(prompt, name, expected):
    """Every verb finds the same words and phrases, of the same characters, or none."""
    about = toy(prompt)
    trace = make_trace(about, tensors(manifest()))
    terms = find_terms(read_prompt(about, "cond", (name,)), (name,))
    compared = [[at for _, at in term.tokens] for term in terms if term.kind == "phrase"]
    assert covered(compared, about.tokens["cond"], prompt) == expected
    options = evolution.EvolutionOptions(word=f"{name} ({max(len(expected), 1)})")
    if not expected:
        for look in (
            lambda: analysed(about, name, prompt),
            lambda: evolution._find_word(choose(trace, options).prompt, options),
            lambda: require_in_prompts([prompt], PairOptions(phrases=(name,)), ""),
        ):
            with pytest.raises(AnalysisError, match=r"no phrase|no word|do not share a phrase"):
                look()
        return
    assert analysed(about, name, prompt) == expected
    require_in_prompts([prompt], PairOptions(phrases=(name,)), "")
    followed = evolution._find_word(choose(trace, options).prompt, options)
    assert prompt[followed.start : followed.stop] == expected[-1]


def readable(prompt):
    """Return a trace whose layers read a prompt character by character."""
    about = toy(prompt)
    clip = Segment("clip", "text", 0, 41)
    layers = tuple(replace(layer, keys=(clip,)) for layer in about.layers)
    kept = tuple(Column("clip", token.position) for token in about.tokens["cond"])
    kept = replace(about.kept, columns=(*kept, Column("clip", None)))
    return make_trace(replace(about, layers=layers, segments={"cond": (clip,)}, kept=kept))


def of_analyze(trace, name):
    """Return label, masses by sample and map of each word, then of each phrase."""
    result = words.run(trace, words.WordsOptions(phrases=(name,)))
    actual = []
    for kind, key in (("words", "clip"), ("phrases", "clip/phrases")):
        masses = result.tables[f"clip/tables/{kind}_summary.csv"]["mass"].to_numpy().reshape(-1, 2)
        labels = result.arrays[key]["label"].values
        actual += zip(labels, masses, np.moveaxis(result.arrays[key].values, 1, 0), strict=True)
    return actual


def of_compare(trace, name):
    """Return the same of a comparison of a trace with itself."""
    reading = compare_pair(trace, trace, PairOptions(phrases=(name,)), {}).variant
    masses = reading.mass[..., 0].mean(2)
    return [
        (term.label, masses[:, at], reading.maps[:, at])
        for kind in ("word", "phrase")
        for at, term in enumerate(reading.terms)
        if term.kind == kind
    ]


@pytest.mark.parametrize(("prompt", "name"), [case[:2] for case in CASES if case[2]])
def test_one_reader(prompt, name):
    """Every verb, and Python, reads the same words, masses and maps out of one trace."""
    trace = readable(prompt)
    analysed, compared = of_analyze(trace, name), of_compare(trace, name)
    assert [label for label, *_ in analysed] == [label for label, *_ in compared]
    for (_, mass, maps), (_, other, others) in zip(analysed, compared, strict=True):
        np.testing.assert_allclose(mass, other, rtol=1e-12)
        np.testing.assert_allclose(maps, others, rtol=1e-12)
    selected = choose(trace, Choice(phrases=(name,)))
    drawn = sketch.word_maps(trace, selected).mean(1)
    for at in range(len(selected.words)):
        np.testing.assert_allclose(drawn[:, at], analysed[at][2], rtol=1e-6)
    number = len(selected.phrases)
    followed = evolution.run(trace, evolution.EvolutionOptions(word=f"{name} ({number})")).arrays[
        "maps"
    ]
    np.testing.assert_allclose(followed.mean("step"), analysed[-1][2], rtol=1e-6)
    maps = trace.word_maps(phrases=name).sel(segment="clip")
    assert maps["word"].values.tolist() == [label for label, *_ in analysed]
    np.testing.assert_allclose(maps, np.stack([item[2] for item in analysed], 1), rtol=1e-6)


def test_words_in_scripts_without_spaces():
    """A word that is asked for within others has the tokens of its characters, and no more."""
    selected = choose(make_trace(toy(CHINESE), tensors(manifest())), Choice(words=("猫",)))
    assert [word.text for word in selected.prompt] == ["一只红色的", "猫", "坐在", "猫", "上"]
    assert [(word.start, word.number) for word in selected.words] == [(5, 1), (8, 2)]
    assert [token.word for token in selected.tokens] == [0, 0, 0, 0, 0, 1, 2, 2, 3, 4]


def test_a_token_across_the_edge():
    """A segment whose tokens cross the ends of a word says nothing of it; another still does."""
    apart, joined = toy("一只猫上"), toy("一只猫上", 2, "t5")
    read = (*apart.tokens["cond"], *joined.tokens["cond"])
    prompt = read_prompt(replace(apart, tokens={"cond": read}), "cond", ("猫",))
    assert prompt.crossed == {("t5", 1), ("t5", 2)}
    assert [token.word for token in prompt.tokens] == [0, 0, 1, 2, 0, None]
    terms = [(term.segment, term.text) for term in find_terms(prompt) if term.kind == "word"]
    assert terms == [("clip", "一只"), ("clip", "猫"), ("clip", "上"), ("t5", "一只")]


def test_only_tokens_across_the_edge():
    """What no segment reads apart from the rest is refused, not measured with it."""
    with pytest.raises(AnalysisError, match="'猫' has no tokens of its own: in 'clip' a token"):
        read_prompt(toy("一只猫上", 2), "cond", ("猫",))


def test_the_note_on_crossed_words():
    """The results say which words a segment does not tell apart."""
    apart, joined = toy("一只猫上a"), toy("一只猫上a", 2, "t5")
    moved = [replace(token, position=11 + token.position) for token in joined.tokens["cond"]]
    about = replace(
        manifest(words_layers()), words=apart.words, request=apart.request, truncated={}
    )
    about = replace(about, tokens={"cond": (*apart.tokens["cond"], *moved)})
    result = words.run(make_trace(about), words.WordsOptions(words=("猫",)))
    assert "segment 't5' reads words together with what is beside them" in result.notes[0]
    assert result.notes[0].endswith("so they have no values there: 猫")
    rows = result.tables["t5/tables/words_summary.csv"]
    assert rows["tokens"].tolist() == [0, 0]
    assert result.tables["clip/tables/words_summary.csv"]["tokens"].tolist() == [1, 1]


def words_layers():
    """Return layers that read two segments."""
    from tests.helpers.toy_traces import JOINT

    return JOINT


def test_a_word_within_a_word():
    """Names that overlap are told apart: the longer one is a phrase then."""
    trace = make_trace(toy(CHINESE), tensors(manifest()))
    with pytest.raises(AnalysisError, match=r"no word '红色的猫'\. It is a phrase there"):
        choose(trace, Choice(words=("猫", "红色的猫")))


def test_the_negative_prompt():
    """A guidance row reads its own text."""
    about = manifest(branches=("cond", "uncond"))
    assert [word.text for word in read_prompt(about, "uncond").words] == ["blurry", "cat"]


def test_the_words_of_an_old_negative_prompt():
    """Traces name a negative prompt's words by their number only, which once was another."""
    about = toy("एक लाल")
    tokens = [replace(token, word=token.position // 2) for token in about.tokens["cond"]]
    request = replace(about.request, negative="एक लाल")
    old = replace(about, request=request, tokens={"uncond": tuple(tokens)})
    assert [item.word for item in read_prompt(old, "uncond").tokens] == [0, 0, None, 1, 1, 1]
