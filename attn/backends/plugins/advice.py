"""What to do about a plugin that fails, for its author and for everybody else."""

from __future__ import annotations

from traceback import format_exception_only

from attn.backends.plugins.answer_types import AnswerError
from attn.backends.plugins.switches import DISABLE
from attn.errors import AttnError


def one_line(error: BaseException) -> str:
    """Put an exception on one line; our own need no type in front."""
    lines = [str(error)] if isinstance(error, AttnError) else format_exception_only(error)
    return " ".join("".join(lines).split())


def advice(error: BaseException, module: str, otherwise: str) -> str:
    """Advise the author of a module on an error raised in it.

    Args:
        error: what went wrong.
        module: name of the module.
        otherwise: what can be done if the error does not tell.
    """
    if isinstance(error, AnswerError):
        return error.fix
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    if missing and missing.partition(".")[0] != module.partition(".")[0]:
        return f"add the package of '{missing}' to its dependencies"
    return otherwise


def remedy(distribution: str, fix: str) -> str:
    """Advise on a broken plugin, its author and everybody else."""
    return f"if it is yours, {fix}, else update or uninstall {distribution}"


def repair(distribution: str, fix: str) -> str:
    """Advise on a plugin that cannot even be loaded."""
    return f"{remedy(distribution, fix)}, or set {DISABLE}={distribution}"
