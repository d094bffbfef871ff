"""Commands whose options are taken once, where the parser would quietly keep the last."""

from __future__ import annotations

from collections import Counter
from typing import Any

from typer.core import TyperCommand, TyperOption

from attn.errors import UsageError


class Once(TyperCommand):
    """A command that refuses an option with one value that is given twice."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments of a command line.

        Raises:
            UsageError: names the first such option, and what it takes.
        """
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        options = (parameter for parameter in order if isinstance(parameter, TyperOption))
        for option, count in Counter(options).items():
            if count > 1 and option.nargs == 1 and not (option.multiple or option.is_flag):
                name = max(option.opts, key=len)
                raise UsageError(f"{name} is given {count} times, expected once ({option.help})")
        return super().parse_args(ctx, args)
