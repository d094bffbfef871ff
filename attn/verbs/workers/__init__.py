"""One run made by several workers of one driver: `--workers N`, `--engine ray`.

work     what crosses between driver and workers, as JSON: the recipe, batches, answers
maker    in a worker: the loaded model, and a batch made with it
drive    the driver: who makes what next, and what a lost worker costs
local    workers that are processes of this machine; `process` is what they run
cluster  workers that are actors of a Ray cluster
crews    the crew that options ask for
readers  traces that workers look at: analyze, compare, evaluate
pieces   what they keep of each, from which one process makes the tables of all

The driver plans, checks and keeps the index; it reads no weights. Workers write traces.
"""
