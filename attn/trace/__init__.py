"""A trace: one generation's attention, as a folder or in memory.

    store          the files of a trace: shards with checksums and a manifest
    writer         writes them step by step, readable after a kill
    manifests      what must be true of a manifest before it is believed
    trace          `Trace`: what Python users open and ask
    views          one measure of one layer over all steps, read a piece at a time
    lookup         where a measure is, or what would have to be captured for it
    growing        steps of a text that grows, as arrays of one length
    exact          probabilities: stored, or recomputed from factors
    totals         the mass of whole segments
    means          maps added up over layers of one tower and steps
    occurrences, prompts   which words and phrases are meant, and which tokens they have
    word_sums, word_maps   sums over the tokens of words; a map per word
    images         the generated images, decoded
    step_tokens    what each step wrote, for language models
    labels         coordinates of the axes: steps, keys, tokens
    arrays, grids  arrays that are read when they are asked for; pictures as grids of tokens
    shapes         the shape that every tensor must have, as the manifest says; what a step has

Data flows from `engine.recorder` into `writer.TraceWriter`, and from `store.open_files` through
`views` into labelled arrays. A new measure is a name in `schema.MEASURES` and a view.
"""
