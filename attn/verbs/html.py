"""Pages of HTML from templates, which escape every text, and spell out what steers in it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from attn.files.safe_text import visible

if TYPE_CHECKING:
    from jinja2 import Template


def render(template: str, **values: object) -> str:
    """Return a page.

    Args:
        template: file in `templates`.
        values: what it shows.
    """
    return _read(template).render(**values)


@cache
def _read(template: str) -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("attn.verbs"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template)


def _finalize(value: object) -> object:
    """Spell out marks of the writing direction and the like in a text; HTML has been made safe."""
    return visible(value) if type(value) is str else value
