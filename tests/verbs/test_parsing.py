"""What people type: prompts from files, seeds, sizes, bytes."""

import pytest

from attn.errors import UsageError
from attn.verbs.parsing import as_tuple, parse_bytes, parse_seeds, parse_size
from attn.verbs.prompt_files import read_prompts
from tests.helpers.editing import special

WHAT = "expected a string, or an object with the field 'prompt'; got a JSON"
NAME = "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
SEED = "PATH, entry 0: unknown field 'seed'; an entry has only 'prompt'"
FORMAT = "cannot tell the format of PATH: expected a name that ends in .json, .jsonl or .txt"


def refusal(function, *arguments):
    """Return the message of a usage error, which the command line exits with 2 for."""
    with pytest.raises(UsageError) as error:
        function(*arguments)
    assert error.value.exit_code == 2
    return str(error.value)


def write(folder, name, text):
    """Write a file of prompts."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "a cat\n\n  a dog  \n"),
        ("p.txt", "a cat\r\na dog"),
        ("p.txt", "\ufeffa cat\na dog\n"),
        ("p.jsonl", '"a cat"\n\n{"prompt": "a dog"}\n'),
        ("p.json", '["a cat", {"prompt": "a dog"}]'),
        ("p.JSON", '\ufeff["a cat", "a dog"]'),
    ],
    ids=["txt", "crlf", "bom", "jsonl", "json", "upper-case"],
)
def test_read_prompts(tmp_path, name, text):
    """Lists of prompts come one a line, as JSON values a line, or as one JSON list."""
    assert read_prompts(write(tmp_path, name, text)) == ("a cat", "a dog")


def test_separators_inside_a_prompt(tmp_path):
    """Only a newline ends a line; other separators of Unicode belong to the prompt."""
    path = write(tmp_path, "p.jsonl", '"a\u2028cat\x85"\n"a dog"')
    assert read_prompts(path) == ("a\u2028cat\x85", "a dog")


def test_empty_prompt(tmp_path):
    """An empty prompt can be asked for, in JSON."""
    assert read_prompts(write(tmp_path, "p.json", '["", "a cat"]')) == ("", "a cat")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.json", '{"prompt": "a"}', "PATH is not a list of prompts: it holds a JSON object"),
        ("p.json", '"a"', "PATH is not a list of prompts: it holds a JSON string"),
        ("p.json", "[", "PATH is not JSON: Expecting value: line 1 column 2 (char 1)"),
        ("p.json", "[]", "PATH holds no prompt"),
        ("p.txt", "\n \n", "PATH holds no prompt"),
        ("p.csv", "a", FORMAT),
        ("p.json", '["a", 3]', f"PATH, entry 1: {WHAT} number"),
        ("p.json", '[{"text": "a"}]', "PATH, entry 0: an object without the field 'prompt'"),
        ("p.jsonl", '"a"\n\n[1]', f"PATH, line 3: {WHAT} list"),
        ("p.json", '[{"prompt": "a", "seed": 3}]', SEED),
        ("p.jsonl", '"a"\ntrue', f"PATH, line 2: {WHAT} boolean"),
        ("p.jsonl", '"a"\n{', f"PATH, line 2 is not JSON: {NAME}"),
    ],
)
def test_bad_prompts(tmp_path, name, text, message):
    """A file that is no list of prompts is refused with the place of its first bad entry."""
    path = write(tmp_path, name, text)
    assert refusal(read_prompts, path).replace(str(path), "PATH") == message


def test_no_prompts_file(tmp_path):
    """A file that is not there is named."""
    path = tmp_path / "p.txt"
    assert refusal(read_prompts, path) == (
        f"cannot read {path}: the file or its folder does not exist. Give a list of prompts in "
        "UTF-8."
    )


def test_prompts_in_another_encoding(tmp_path):
    """A file that is not UTF-8 is refused instead of being misread."""
    path = tmp_path / "p.txt"
    path.write_bytes("Kätzchen".encode("latin-1"))
    assert refusal(read_prompts, path) == (
        f"cannot read {path}: it is no UTF-8 text, as its byte 0xe4 shows. Give a list of prompts "
        "in UTF-8."
    )


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "circle"])
def test_prompts_that_are_no_file(tmp_path, kind):
    """Nothing is waited for, and nothing without an end is read."""
    path = special(tmp_path / "p.txt", kind)
    assert refusal(read_prompts, path).startswith(f"cannot read {path}: ")


def test_prompts_that_no_trace_can_hold(tmp_path):
    """A prompt that would make a trace unreadable is refused before anything is generated."""
    path = write(tmp_path, "p.txt", "a" * 40_000)
    assert "a prompt of 40000 characters, expected at most 32768" in refusal(read_prompts, path)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0", (0,)),
        ("3-5", (3, 4, 5)),
        ("1,5,9", (1, 5, 9)),
        (" 7 , 2-3 ", (7, 2, 3)),
        ("4,3-5,4", (4, 3, 5)),
        ("4294967295", (2**32 - 1,)),
    ],
)
def test_parse_seeds(text, seeds):
    """Seeds are numbers, ranges with both ends, and lists of them; each counts once."""
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "a", "-1", "1-", "5-3", "1,,2", "1.5", "0x10", "1 2", "9" * 4301]
)
def test_bad_seeds(text):
    """Anything else is refused with what is expected."""
    expected = f"seeds: expected 0, 0-7 or 1,5,9; got '{text}'"
    assert refusal(parse_seeds, text) == expected


@pytest.mark.parametrize("text", ["4294967296", "0-99999999999999"])
def test_too_large_seeds(text):
    """Seeds that no generator takes are refused at once, before a range of them is counted."""
    last = text.split("-")[-1]
    assert refusal(parse_seeds, text) == f"seeds must be below 2^32; got {last}"


@pytest.mark.parametrize("text", ["1344x768", "1344X768", " 1344 × 768 "])
def test_parse_size(text):
    """A size is width by height."""
    assert parse_size(text) == (1344, 768)


@pytest.mark.parametrize(
    "text", ["", "1344", "1344x", "x768", "1344x768x3", "-8x64", "8.5x64", "9" * 4301 + "x8"]
)
def test_bad_size(text):
    """Anything else is refused with an example."""
    expected = f"size: expected WIDTHxHEIGHT such as 1344x768; got '{text}'"
    assert refusal(parse_size, text) == expected


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1234", 1234),
        ("8GB", 8 * 10**9),
        ("500 mb", 500 * 10**6),
        ("1.5k", 1500),
        ("2T", 2 * 10**12),
        ("7B", 7),
    ],
)
def test_parse_bytes(text, count):
    """Units are powers of 1000, in any case, with or without the B."""
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GB", "8 GiB", "-1GB", "8PB", "1,5GB", "9" * 4301])
def test_bad_bytes(text):
    """Anything else is refused with examples."""
    expected = f"budget: expected a size such as 8GB or 500MB; got '{text}'"
    assert refusal(parse_bytes, text) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(None, ()), ("ab", ("ab",)), (["a", "b"], ("a", "b")), ("", ("",))]
)
def test_as_tuple(value, expected):
    """One text is a list of one, not of its letters."""
    assert as_tuple(value) == expected
