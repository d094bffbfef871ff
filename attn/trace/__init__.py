"""A trace: one generation's attention, as a folder or in memory.

    store          the files of a trace: shards with checksums and a manifest
    writer         writes them step by step, readable after a kill
    copies         a trace written once more, into another folder
    remote         traces behind a URL: copied into the cache, one at a time
    manifests      what must be true of a manifest before it is believed
    growing        that of texts which end early
    trace          `Trace`: what Python users open and ask
    measures/      one measure of one layer over all steps; probabilities; masses of segments
    means          maps added up over layers of one tower and steps
    rows           what single queries read, added up likewise
    words/         which words and phrases are meant, which tokens they have, and their maps
    step_tokens    what each step wrote, for language models
    labels         coordinates of the axes: steps, keys, tokens
    grids          images as grids of tokens
    frames         which frames of a video a frame of its latents stands for
    shapes         the shape that every tensor must have, as the manifest says; what a step has

Data flows from `engine.recorder` into `writer.TraceWriter`, and from `store.open_files` through
`measures.views` into labelled arrays. A new measure is a name in `schema.MEASURES` and a view.
"""
