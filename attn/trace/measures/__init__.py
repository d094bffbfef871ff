"""What a trace says of attention: each measure as one array over all steps.

    views     one measure of one layer, read a piece at a time
    sources   where they read tensors from
    axes      which steps, samples, heads and keys are looked at
    arrays    arrays that are read when they are asked for
    lookup    where a measure is, or what would have to be captured for it
    growing   steps of a text that grows, as arrays of one length
    exact     probabilities: stored, or recomputed from factors
    totals    the mass of whole segments

Everything reads tensors through the store of its trace, and nothing is kept.
"""
