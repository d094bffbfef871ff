"""Analyses: pure functions from a trace to labelled arrays and tables.

    registry   all analyses by name, with what they need and their options
    needs      whether a trace holds that, and what to capture with where it does not
    tables     columns by name: put below each other, written as CSV
    grouping   rows of equal keys, their means and sums
    result     tables, arrays and files that an analysis hands back
    numbers    arrays of which some numbers are missing
    images     the generated images of a trace, decoded
    digest     curves of many traces, for the summary page of a collection
    words/     where words and phrases are looked at, and when
    texts/     who reads whom in a text that a model writes
    sinks/     keys that receive much more than others
    scores/    how well maps find what words name, where that is known
    compare/   what differs between runs, with intervals
    gates, sketch   gates of gated models; words and a drawing

`verbs.analyze` runs what a trace allows and hands each result to the function that `draw` names.
A new analysis is a function `run`, a dataclass of options and an entry of the registry.
"""
