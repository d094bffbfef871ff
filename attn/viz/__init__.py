"""Pictures: pure functions from labelled arrays to matplotlib figures.

    figures, sizes         what a figure is about, how it becomes a file, how large
    page, lines, labels    text and axes on a page, line plots, words as they are printed
    fonts                  letters of every script
    intervals, overlay     intervals on an axis; a map over an image
    words/  texts/  compare/   figures of the analyses of the same name
    sinks, gates, sketch       the others

A `draw` function takes a `Result` and a `Subject` and yields figures.
"""
