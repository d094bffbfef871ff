"""See what a diffusion model attends to: capture, analyse and compare its attention.

    cli          a file for each command: `attn capture`, `attn analyze`, `attn compare`, …
    verbs        what the commands do, the same for Python: puts the parts together
    viz          labelled arrays -> figures
    explorer     the interactive page: traces in a browser
    analysis     a trace -> labelled arrays and tables
    backends     one family of models each: loading, layout of the sequence, tokens, generation
    demo         the built-in models of coloured shapes and short questions
    engine       the tap: sees each attention kernel that runs, and reduces it on the device
    trace        what was captured, on disk and in memory
    lora         what is in a LoRA file
    checkpoints  what is in a file of weights
    files        reading what others wrote, and writing so that nothing is lost
    schema       what a trace is: layers, segments, tokens, words, steps
    options      options declared once, as dataclasses
    shapes       names for the axes of arrays; choices: of options and files
    words        what a word of a prompt is, and how words and phrases are found
    wording      texts of messages; versions: of this package and others
    errors       every expected error, in one tree
    visible      text that cannot steer a terminal; library_warnings: left out in our processes

Imports go downwards only. A prompt becomes a trace in `engine.run.record`; a trace becomes pictures
in `verbs.analyze`; two traces become a table in `verbs.compare`. A new family of models is a file
in `backends.families` or a package of its own (plugins.md); a new analysis is an entry of
`analysis.registry`. docs/architecture.md has the three walks.

The public names stand here and are loaded when they are first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would be most of what importing attn takes

if TYPE_CHECKING:
    from attn.backends import hookimpl
    from attn.engine.interventions.intervene import intervene
    from attn.engine.tap import tap
    from attn.errors import AttnError
    from attn.trace.trace import Trace
    from attn.trace.trace import open_trace as open
    from attn.verbs.ablate.ablate import ablate
    from attn.verbs.analyze.analyze import analyze
    from attn.verbs.capture.capture import capture
    from attn.verbs.compare.compare import compare
    from attn.verbs.evaluate.evaluate import evaluate
    from attn.verbs.shards.merge import merge
    from attn.verbs.verify import verify
    from attn.verbs.view import view

    __version__: str

__all__ = [
    "AttnError",
    "Trace",
    "__version__",
    "ablate",
    "analyze",
    "capture",
    "compare",
    "evaluate",
    "hookimpl",
    "intervene",
    "merge",
    "open",
    "tap",
    "verify",
    "view",
]

_HOMES = {
    "AttnError": "attn.errors:AttnError",
    "Trace": "attn.trace.trace:Trace",
    "ablate": "attn.verbs.ablate.ablate:ablate",
    "analyze": "attn.verbs.analyze.analyze:analyze",
    "capture": "attn.verbs.capture.capture:capture",
    "compare": "attn.verbs.compare.compare:compare",
    "evaluate": "attn.verbs.evaluate.evaluate:evaluate",
    "hookimpl": "attn.backends:hookimpl",
    "intervene": "attn.engine.interventions.intervene:intervene",
    "merge": "attn.verbs.shards.merge:merge",
    "open": "attn.trace.trace:open_trace",
    "tap": "attn.engine.tap:tap",
    "verify": "attn.verbs.verify:verify",
    "view": "attn.verbs.view:view",
}


def _load(name: str) -> object:
    from importlib import import_module

    if name == "__version__":
        from attn.versions import attn_version

        return attn_version()
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute)


if not TYPE_CHECKING:  # a type checker would take any name for granted

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'attn' has no attribute '{name}'")
        value = globals()[name] = _load(name)
        return value


def __dir__() -> list[str]:
    return __all__
