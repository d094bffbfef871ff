"""Options that are declared once: the command line, Python and the checks have them from there."""

import inspect
from dataclasses import KW_ONLY, FrozenInstanceError, dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Literal, get_overloads, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

import attn
from attn.cli import build
from attn.cli.options import Typed, with_options
from attn.errors import UsageError
from attn.verbs import checks, parsing
from attn.verbs.analyze.options import AnalyzeOptions
from attn.verbs.capture.options import CaptureOptions, GenerationOptions
from attn.verbs.compare.options import CompareOptions, Comparing, ComparisonOptions
from attn.verbs.compare.runs.variant_runs import capture_options
from attn.verbs.lora import examine
from attn.verbs.lora_options import LoraOptions
from attn.verbs.options import About, declared, takes, validate
from attn.verbs.view_options import ViewOptions


@dataclass(frozen=True)
class Options:
    path: Annotated[str | Path, About("A folder.", ("DIR",), check=checks.folder)]
    _: KW_ONLY
    rows: Annotated[int | None, About("Rows.", least=1)] = None
    gain: Annotated[float, About("Gain.", least=0, most=2)] = 0.5
    level: Annotated[Literal["low", "high"], About("Low or high.", ("--level", "-l"))] = "low"
    seed: Annotated[int, About("Seeds.", read=parsing.parse_seeds, check=checks.seeds)] = 0
    dry_run: Annotated[bool, About("Only look.", python="Nothing is done.")] = False
    told: Annotated[object, About("Heard.", check=checks.unchecked, is_typed=False)] = None

    def __post_init__(self):
        validate(self)


@takes(Options)
def verb(options):
    """Do nothing.

    Args:
        options: see `Options`.

    Returns:
        What it was given.
    """
    return options


def command(*arguments):
    """Return what a command was given that has these options, or what it printed instead."""
    heard, app = [], typer.Typer(rich_markup_mode=None, add_completion=False)

    @app.command()
    @with_options(Options)
    def toy(context: typer.Context, *, typed: Typed, as_json: bool = False):
        """Do nothing."""
        heard.append(typed)

    result = CliRunner().invoke(app, arguments)
    return heard[0] if heard else result.output


def test_one_line_makes_a_parameter():
    """What is typed goes to the command as Python would give it, and nothing that is not typed."""
    arguments = ["run", "--rows", "3", "-l", "high", "--seed", "2-4", "--dry-run"]
    given = {"rows": 3, "level": "high", "seed": (2, 3, 4), "dry_run": True}
    assert command(*arguments) == {"path": Path("run"), **given}
    assert command("run") == {"path": Path("run")}
    assert verb("run", **given) == Options("run", **given)


def test_one_line_makes_the_help():
    """The command's help has help, default and bound of each option, and no option of Python's."""
    text = " ".join(command("--help").split())
    assert text.startswith("Usage: toy [OPTIONS] {DIR} ")
    assert "--rows <int> Rows. [x>=1]" in text
    assert "-l, --level <str> Low or high. [default: low]" in text
    assert "--told" not in text


def test_one_line_makes_the_signature():
    """Python's function has names, kinds, types and defaults of the fields, and lists them."""
    signature = inspect.signature(verb)
    assert list(signature.parameters) == [field.name for field in fields(Options)]
    assert signature.parameters["rows"].annotation == int | None
    assert signature.parameters["rows"].kind is inspect.Parameter.KEYWORD_ONLY
    assert "\n    rows: Rows.\n" in verb.__doc__
    assert "\n    dry_run: Nothing is done.\n" in verb.__doc__
    assert "see `Options`" not in verb.__doc__


def test_what_a_form_needs():
    """Type, default, bounds and choices of an option can be asked for."""
    options = {option.name: option for option in declared(Options)}
    assert options["level"].choices == ("low", "high")
    assert (options["gain"].about.least, options["gain"].about.most) == (0, 2)
    assert (options["rows"].types, options["rows"].is_optional) == ((int,), True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rows": 0}, "rows must be at least 1; got 0"),
        ({"rows": 2.0}, "rows: expected a whole number; got 2.0 (float)"),
        ({"gain": 3}, "gain: expected 0 to 2; got 3.0"),
        ({"gain": "1"}, "gain: expected a number; got '1'"),
        ({"level": "mid"}, "level: expected one of low, high; got 'mid'"),
        ({"level": None}, "level: expected one of low, high; got 'None'"),
        ({"dry_run": 1}, "dry_run: expected True or False; got 1 (int)"),
        ({"seed": (1, 2.5)}, "seed: expected a whole number; got 2.5 (float)"),
    ],
)
def test_checked_by_its_type(given, message):
    """A value that is not of an option's type, or beyond its bounds, is refused by name."""
    with pytest.raises(UsageError) as error:
        verb("run", **given)
    assert str(error.value) == message


def test_checked_again():
    """What was checked can be checked again, as `replace` does, and cannot be changed."""
    options = Options("run", seed=(3, 5), rows=7)
    assert Options(**{field.name: getattr(options, field.name) for field in fields(options)})
    with pytest.raises(FrozenInstanceError):
        options.rows = 0


def test_nothing_said():
    """A field of which nothing is said is told to who adds it."""

    @dataclass(frozen=True)
    class Silent:
        rows: Annotated[int, "rows"] = 1

    with pytest.raises(TypeError, match=r"Silent\.rows: say what it is with About"):
        declared(Silent)


VERBS = {
    "capture": (attn.capture, CaptureOptions, {"analyze", "view", "json", "json_progress"}),
    "compare": (attn.compare, CompareOptions, {"runs", "view", "json", "json_progress"}),
    "analyze": (attn.analyze, AnalyzeOptions, {"list", "view", "json", "json_progress"}),
    "lora": (examine, LoraOptions, {"json"}),
    "view": (None, ViewOptions, {"paths", "json"}),
}
"""Python's function that takes the options, they, and what the command has besides."""


@pytest.mark.parametrize("name", VERBS)
def test_commands_take_what_is_declared(name):
    """A command has the options of its verb, what is of the command line alone, and no others."""
    _, options, own = VERBS[name]
    (made,) = (
        item for item in typer.main.get_group(build()).commands.values() if item.name == name
    )
    names = {parameter.name.removeprefix("as_").rstrip("_") for parameter in made.params}
    typed = {option.name for option in declared(options) if option.about.is_typed}
    assert names - {"help"} == own | typed


@pytest.mark.parametrize("name", [name for name, (verb, *_) in VERBS.items() if verb])
def test_functions_take_what_is_declared(name):
    """Python's function takes all options, with their defaults, and runs where there are some."""
    function, options, own = VERBS[name]
    parameters = dict(inspect.signature(function).parameters)
    assert (parameters.pop("runs", None) is not None) == ("runs" in own)
    assert parameters.keys() == {field.name for field in fields(options)}
    for option in declared(options):
        assert (parameters[option.name].default is inspect.Parameter.empty) == (
            option.name in {"backend", "path"} and options is not CompareOptions
        )


def test_what_runs_are_compared_with():
    """The signature for runs that are there has what is not about generating, and workers."""
    name = SimpleNamespace(__module__=Comparing.__module__, __qualname__="Comparing.__call__")
    with_runs, _ = get_overloads(name)
    hints = get_type_hints(ComparisonOptions)
    generating = {"lora", "sketch", "backend", "prompt"}
    parameters = set(inspect.signature(with_runs).parameters) - {"self", "runs"}
    assert parameters == hints.keys() - generating | {"shard", "workers", "engine"}


def test_compare_takes_what_capture_takes():
    """All that is about generating is the same, but for the defaults that a comparison needs."""
    options = CompareOptions(backend="sd15", steps=3, prompt="a cat")
    capture = capture_options("sd15", options, {"clip_skip": "1"})
    assert (capture.seeds, capture.keep, capture.steps) == (tuple(range(16)), "means", 3)
    assert (capture.prompt, capture.settings) == (("a cat",), {"clip_skip": "1"})
    assert {field.name for field in fields(GenerationOptions)} <= {
        field.name for field in fields(CompareOptions)
    }


@pytest.mark.parametrize(
    ("arguments", "given", "message"),
    [
        ("--steps 0", {"steps": 0}, "steps must be at least 1; got 0"),
        ("--batch -1", {"batch": -1}, "batch must be at least 1; got -1"),
        (
            "--keep map",
            {"keep": "map"},
            "keep: expected one of mass, means, maps, heads, factors; got 'map'",
        ),
        ("--offload disk", {"offload": "disk"}, "offload: expected one of none, model; got 'disk'"),
        (
            "--budget lots",
            {"budget": "lots"},
            "budget: expected a size such as 8GB or 500MB; got 'lots'",
        ),
    ],
)
def test_the_same_message_from_both(arguments, given, message):
    """The command line and Python refuse a value in the same words."""
    result = CliRunner().invoke(build(), ["capture", "-b", "sd15", *arguments.split()])
    assert (result.exit_code, result.stderr) == (2, f"Error: {message}\n")
    with pytest.raises(UsageError) as error:
        attn.capture("sd15", **given)
    assert str(error.value) == message


def test_a_drawing_given_twice():
    """A drawing as an option and among the settings is refused, whichever way it comes."""
    with pytest.raises(UsageError) as error:
        attn.capture("scribble", sketch="a.png", settings={"sketch": "b.png"})
    assert str(error.value) == (
        "option 'sketch' is given twice, as 'b.png' and 'a.png'; give it once."
    )
