"""`attn studio`: draw, prompt, generate, and watch attention while it happens.

    options     of the command
    app         the application at a port: guard, Gradio behind its gate, explorer
    gate        what of Gradio can be asked; uploads, its folder
    studio      what all pages share
    page        the page of a family, built of parts; acts, what its buttons do
    form        fields made of typed options, and requests made of fields; choices, by name
    drawing     what the pad holds
    command     the same as a command line
    telling     what is said of runs and plans
    jobs        runs, one at a time
    child       the process that does them, seen from the server
    worker/     the same process from inside
    static/     a script for the pad, and a style sheet

Gradio is imported by `page`, `parts` and `acts` only, late; torch by `worker` only. What is
looked at is the explorer, in a frame of the page.
"""
