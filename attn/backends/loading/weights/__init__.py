"""One part of one file or folder becomes one network with all its weights.

    checkpoint       the network, filled from a file
    folder           weights as diffusers and transformers lay them out in a folder
    unfilled         networks without weights yet
    convert, gates   names of published files -> names of the libraries
    fit, misfit      whether every weight arrives, and in words why not

Data flows file -> convert -> fit -> checkpoint.
"""
