"""Options from `--set KEY=VALUE`."""

from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Literal

import pytest

from attn.errors import UsageError
from attn.options import Option, describe_options, parse_options, split_pairs


@dataclass(frozen=True)
class Options:
    title: str = field(default="as is", metadata={"help": "text above the picture"})
    rows: int = 3
    gain: float = 0.5
    clip: bool = True
    layers: tuple[int, ...] = (7, 8)
    pooling: Literal["mean", "daam"] = "mean"
    limit: int | None = None
    vae: Path | None = None
    names: tuple[str, ...] | None = None
    size: tuple[int, int] = (5, 7)

    def __post_init__(self):
        if self.rows < 1:
            raise ValueError(f"rows: got {self.rows}, expected at least 1")


@dataclass(frozen=True)
class NoOptions:
    pass


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("title", "none = yes", "none = yes"),
        ("title", "", ""),
        ("rows", "11", 11),
        ("gain", "2", 2.0),
        *(("clip", text, True) for text in ["yes", "On", "true", "1"]),
        *(("clip", text, False) for text in ["no", "off", "False", "0"]),
        ("layers", "7,8, 9", (7, 8, 9)),
        ("layers", "7", (7,)),
        ("layers", "", ()),
        ("pooling", "daam", "daam"),
        ("limit", "none", None),
        ("limit", "13", 13),
        ("vae", "a/b.safetensors", Path("a/b.safetensors")),
        ("vae", "none", None),
        ("names", "a,b", ("a", "b")),
        ("size", "3,11", (3, 11)),
    ],
)
def test_value(key, text, value):
    """Every type that an option may have can be written on the command line."""
    assert parse_options(Options, {key: text}, "toy") == Options(**{key: value})


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("rows", "many", "int"),
        ("rows", "none", "int"),
        ("gain", "", "float"),
        ("clip", "2", "yes|no"),
        ("layers", "7,", "int,…"),
        ("pooling", "max", "mean|daam"),
        ("limit", "x", "int or none"),
        ("size", "1,2,3", "int,int"),
    ],
)
def test_wrong_value(key, text, expected):
    """A value of the wrong type is refused with key, value and expected type."""
    with pytest.raises(UsageError) as error:
        parse_options(Options, {key: text}, "toy")
    assert str(error.value) == f"option '{key}' of toy: got '{text}', expected {expected}."


def test_wrong_value_of_a_word_of_python():
    """An option whose field has an underscore behind it is called as it was typed."""
    kind = make_dataclass("Kind", [("from_", int | None, field(default=None))])
    assert parse_options(kind, {"from": "3"}, "toy") == kind(from_=3)
    with pytest.raises(UsageError, match="option 'from' of toy: got 'x', expected int or none"):
        parse_options(kind, {"from": "x"}, "toy")


def test_unknown_key():
    """A mistyped option gets a suggestion and the list of all."""
    with pytest.raises(UsageError) as error:
        parse_options(Options, {"polling": "mean"}, "toy")
    assert str(error.value) == (
        "toy has no option 'polling'. Did you mean 'pooling'? "
        "Options: title, rows, gain, clip, layers, pooling, limit, vae, names, size."
    )


def test_key_where_there_are_none():
    """An option for something without options is refused in words of its own."""
    with pytest.raises(UsageError, match=r"^toy has no option 'x'\. It has no options\.$"):
        parse_options(NoOptions, {"x": "1"}, "toy")


def test_value_that_the_dataclass_refuses():
    """Limits that a dataclass checks itself reach the user as a message, not as a traceback."""
    with pytest.raises(UsageError, match=r"^options of toy: rows: got 0, expected at least 1$"):
        parse_options(Options, {"rows": "0"}, "toy")


def test_type_that_text_cannot_express():
    """An option whose type cannot come from text is a bug of its author, not of the user."""

    @dataclass
    class Odd:
        shape: complex = 1j

    with pytest.raises(NotImplementedError, match="--set cannot express"):
        parse_options(Odd, {"shape": "2"}, "toy")


def test_describe():
    """Name, type, default and help are told in the words that `--set` takes."""
    assert describe_options(Options)[0] == Option("title", "str", "as is", "text above the picture")
    assert [(option.name, option.type, option.default) for option in describe_options(Options)] == [
        ("title", "str", "as is"),
        ("rows", "int", "3"),
        ("gain", "float", "0.5"),
        ("clip", "yes|no", "yes"),
        ("layers", "int,…", "7,8"),
        ("pooling", "mean|daam", "mean"),
        ("limit", "int or none", "none"),
        ("vae", "path or none", "none"),
        ("names", "str,… or none", "none"),
        ("size", "int,int", "5,7"),
    ]


def test_described_defaults_can_be_set():
    """A default can be copied from the table of options into `--set`."""
    pairs = {option.name: option.default for option in describe_options(Options)}
    assert parse_options(Options, pairs, "toy") == Options()


@pytest.mark.parametrize("kind", [make_dataclass("Open", [("size", int)]), int])
def test_describe_what_is_no_options(kind):
    """A class without fields, or a field without a default, cannot pass for options."""
    with pytest.raises(TypeError):
        describe_options(kind)


def test_split_pairs():
    """Only the first `=` separates."""
    assert split_pairs(["a=", "b=x=y", "c= 2"]) == {"a": "", "b": "x=y", "c": " 2"}


def test_a_key_twice():
    """Of two values for one key none is taken in silence."""
    with pytest.raises(
        UsageError, match=r"^option 'a' is given twice, as '1' and ''; give it once"
    ):
        split_pairs(["a=1", "b=2", "a="])


@pytest.mark.parametrize("item", ["steps", "=3", ""])
def test_no_pair(item):
    """Text without a key or an equals sign is refused."""
    with pytest.raises(UsageError, match=f"^--set takes KEY=VALUE, got '{item}'.$"):
        split_pairs([item])
