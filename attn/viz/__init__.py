"""Pictures: pure functions from labelled arrays to matplotlib figures.

    figures, sizes         what a figure is about, how it becomes a file, how large
    style                  the style sheet: colours, and what new axes look like
    charts                 a page of charts: `new_charts` writes its heading and makes its axes,
                           which matplotlib lays out; `show_names`, `show_scale` explain its colours
    page                   sheets of images in equal cells; titles above axes
    lines, labels          line plots, words as they are printed
    fonts                  letters of every script
    intervals, overlay     intervals on an axis; a map over an image; strokes: those of a drawing
    words/  texts/  compare/   figures of the analyses of the same name
    sinks, gates, sketch, scores, cuts   the others

A `draw` function takes a `Result` and a `Subject` and yields figures. A new chart begins with
`figure, axes = new_charts((title, subtitle), (width, height), nrows=…, ncols=…)`.
"""
