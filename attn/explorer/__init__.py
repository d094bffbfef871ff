"""The interactive page: traces in a browser, read as they lie on disk.

    listing/     what was opened, each under a number: the list, its rows and small pictures
    opened       what a page may read of it: facts, and the files that its index lists
    description  what a page has to know of a trace: all rules that stand in Python
    comparisons, matrices   the same of a comparison, and of whole matrices
    guard        who may ask: host, origin, token; headers on every answer
    server       the addresses, and the server behind them
    checked      digests of shards, held against the manifest in the background
    page         everything in one file: joined (the modules as one script), reduction (what of a
                 trace fits: mean_maps, roots, shelf)
    notebook/    what a notebook shows: a bundle, or a widget
    static/      the page itself, plain ES modules (static/README.md is its map)

A browser asks for `index.json`, then for `t/NUMBER/trace.json`, then for ranges of shards. No path
comes from an address: it is a number, and a name that is compared with those in the manifest.

A screen (a picture, a text, a comparison, an index) is one module of `static/` with one function,
`show(root, item, state) -> close`, entered in `static/screens.js` under the name that
`description.screen_of` gives. What a page needs to know beyond the shards is added to
`description`, so that a rule stands in one place and in Python.
"""
