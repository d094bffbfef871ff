"""Chat templates of others are programs: they run in bounded time and memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from jinja2 import Environment, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.utils import Namespace

SECONDS = 5.0
"""Of the processor: a machine that is busy with other things does not count."""
LONGEST = 2**22
"""Characters of a text that a template makes."""
LARGEST = 10**6
"""Numbers above it are there to fill the memory."""
PADDING = {"center", "ljust", "rjust", "zfill", "expandtabs", "format", "format_map"}
"""What makes a long text of a short one and a number."""


def require_harmless(template: str) -> None:
    """Refuse a template that could fill the memory in one operation.

    Raises:
        ValueError: says with what.
        TemplateError: it cannot be parsed.
    """
    tree = Environment(extensions=[loopcontrols, _Generation], autoescape=True).parse(template)
    operators = [type(node).__name__.lower() for node in tree.find_all((nodes.Mul, nodes.Pow))]
    names = {node.name for node in tree.find_all(nodes.Filter)}
    names |= {node.attr for node in tree.find_all(nodes.Getattr)}
    numbers = [node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, int)]
    odd = [*operators[:1], *sorted(names & PADDING), *(n for n in numbers if abs(n) > LARGEST)]
    if odd:
        raise ValueError(f"it uses {odd[0]}, which no chat needs")


@contextmanager
def bounded() -> Iterator[None]:
    """Stop templates that this thread runs in the block, if they take too long or too much.

    Raises:
        ValueError: in the template.
    """
    before, end = sys.gettrace(), time.thread_time() + SECONDS

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if time.thread_time() > end:
            raise ValueError(f"it runs for more than {SECONDS:g} seconds")
        if any(len(text) > LONGEST for text in _texts(frame.f_locals.values())):
            raise ValueError(f"it makes a text of more than {LONGEST} characters")
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def _texts(values: Iterable[Any]) -> Iterator[str | list[Any]]:
    """Yield texts and lists of variables, and those in namespaces."""
    for value in values:
        if isinstance(value, str | list):
            yield value
        elif isinstance(value, Namespace):
            yield from _texts(getattr(value, "_Namespace__attrs", {}).values())


class _Generation(Extension):
    """The tag `generation` of transformers, which marks what the model writes."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it without ClassVar

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return the text between the tags; see jinja2."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)
