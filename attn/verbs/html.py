"""Pages of HTML from templates, which escape every text."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

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
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template)
