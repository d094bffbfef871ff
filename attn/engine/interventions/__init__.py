"""Change a model's attention while it runs: `schema.Intervention`, done at the kernel call.

    acts        what an act does to logits and probabilities: the idea, in one page
    calls       the edits of one call, and the mask that they make
    mode        does it to the calls of kernels, below which the tap records what then runs
    targets     which layers, queries and keys of a sequence are meant
    resolve     an intervention as it is done to one request
    draws       as many others, drawn at random
    sinks       the keys that receive most on the untreated run
    swaps       keys and values of a run with another prompt
    rows        where the positions of a layer are in a row of a batch
    treatment   all interventions of a generation, call by call
    intervene   the same for a torch model of one's own

A mask or a bias is added to the mask of the model's own kernel. Other acts need the probabilities
themselves: then those of the layer are computed in the open, and heads without an act keep the
output of the kernel. A call without an act is the model's own, bit for bit.
"""
