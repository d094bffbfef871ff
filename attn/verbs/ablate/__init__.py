"""`attn ablate`: change the model's attention, and see whether that does what its maps say.

    cuts         what people type, as interventions
    scan         a cut for every head, layer, block or step
    weaken       heads in the order of a scan, a few, then more
    treatments   what they do to a batch of a capture
    options      of the command
    ablate       generate the baseline, every cut and random controls from the same noise

The results are those of `compare`, which finds the cuts in the traces, so that the same folders can
be compared again: `compare.controls.cut_effects` and `cut_answer`.
"""
