"""plugins.md, followed to the letter: its listings are `examples/attn-toy`, its sessions happen."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.helpers.installing import ROOT, Environment, make_environment, pip

PAGE = (ROOT / "plugins.md").read_text(encoding="utf-8")
TOY = ROOT / "examples" / "attn-toy"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
LISTING = re.compile(r"# (\S+)(, continued)?\n(.*)", re.S)
COMMAND = re.compile(r"^\$ attn (.*)\n((?:(?!\$ ).*\n)*)", re.M)

MISTAKES = """
import torch
import attn_toy.backend as toy
from attn.backends.testing import check_backend
from attn.schema import Request, Segment

def picture_first(request):
    rows, columns = toy.grid(request)
    size = rows * columns
    return (
        Segment("image", "image", 0, size, (rows, columns)),
        Segment("prompt", "text", size, size + toy.LENGTH),
    )

grid, ids, generate = toy.grid, toy.ToySession.ids, toy.ToySession.generate
layers = toy.ToySession.layers
other = {"cond": "uncond", "uncond": "cond"}
mistakes = [
    (toy, "segments", picture_first),
    (toy, "grid", lambda request: grid(request)[::-1]),
    (toy.ToySession, "branches", lambda self, request: ("uncond", "cond")),
    (toy.ToySession, "ids", lambda self, request, branch: ids(self, request, other[branch])),
    (toy, "draw", lambda request, image: torch.randn(3, *grid(request))),
    (toy.ToySession, "generate", lambda self, requests, call: generate(self, requests, None)),
    (toy.ToySession, "layers", lambda self, request: layers(self, request)[:-1]),
]
for where, name, wrong in mistakes:
    right = getattr(where, name)
    setattr(where, name, wrong)
    session = toy.ToyBackend().open("demo", toy.ToyOptions(blocks=3))
    try:
        check_backend(session, Request("a red cat on a chair", width=64, height=96, steps=3))
        print("nothing")
    except AssertionError as error:
        print(error)
    setattr(where, name, right)
"""


def stages() -> list[dict[str, str]]:
    """Return the files that a reader has typed at every console session, and at the end."""
    files: dict[str, str] = {}
    result = []
    for block in FENCE.finditer(PAGE):
        if block[1] == "console":
            result.append(dict(files))
        elif listing := LISTING.match(block[2]):
            name, more, text = listing.groups()
            files[name] = f"{files[name]}\n{text}" if more else text
    return [*result, files]


def code_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def test_listings_are_the_example() -> None:
    """Whoever types the listings in order has the files of `examples/attn-toy`."""
    files = stages()[-1]
    real = {
        str(path.relative_to(TOY)): path.read_text(encoding="utf-8")
        for kind in ("*.py", "*.toml")
        for path in TOY.rglob(kind)
    }
    assert {name: code_lines(text) for name, text in files.items()} == {
        name: code_lines(text) for name, text in real.items()
    }


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An empty environment with the wheel."""
    folder = tmp_path_factory.mktemp("reader")
    pip("wheel", "--wheel-dir", str(folder), str(ROOT))
    environment = make_environment(folder / "environment")
    environment.install(next(folder.glob("attn-*.whl")))
    return environment


def type_in(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.mark.slow
def test_a_reader_gets_what_is_shown(environment: Environment, tmp_path: Path) -> None:
    """Every console session prints what it shows, at the place of the page where it stands.

    The package is installed again whenever a listing has changed it.
    """
    folder = tmp_path / "attn-toy"
    blocks = [text for language, text in FENCE.findall(PAGE) if language == "console"]
    assert len(blocks) == 3
    before: dict[str, str] = {}
    for files, block in zip(stages(), blocks, strict=False):
        if files != before:
            type_in(folder, files)
            environment.install(folder)
        before = files
        shown = COMMAND.findall(block)
        answers = environment.commands(*(shlex.split(item) for item, _ in shown), cwd=tmp_path)
        for (command, expected), answer in zip(shown, answers, strict=True):
            printed = answer.stderr if answer.code else answer.stdout
            lines = [line for line in printed.splitlines() if not line.startswith("model: ")]
            assert lines == expected.splitlines(), command
    mistakes = environment.run("python", "-c", MISTAKES, cwd=tmp_path).splitlines()
    table = PAGE[PAGE.index("| if | it says |") :]
    told = re.findall(r"^\| .* \| `(session\..*?)(?: …)?` \|$", table, re.M)
    assert len(mistakes) == len(told) == 7
    assert [said.startswith(text) for said, text in zip(mistakes, told, strict=True)] == [True] * 7
