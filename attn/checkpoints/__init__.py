"""What a file of weights is, from its header alone: no torch, milliseconds.

    headers        read and check the header of a safetensors file
    inventory      the parts of a model in it, under which prefixes
    denoisers      recognise UNets and transformers
    other_models   names by which files are known that are no model of ours
    probe          all of it together: what this file is
    configs/       configurations of published models, for files that tell none

A new layout is a signature in `denoisers` and its parts in `inventory`.
"""
