"""From what the user named to networks with all their weights, or one error that says why not.

    source           a folder, a file, a hub id or a demo; and which bytes it was
    family           the parts that a family's models are made of
    locate, recipe   where every part comes from
    compatibility    whether the parts go together
    checkpoint       one part of one file becomes one network
    convert, gates   names of published files -> names of the libraries
    fit, misfit      whether every weight arrives, and in words why not
    tokenizers       found on this machine
    pipeline         all parts together
    folder, scheduler, unfilled   weights of a folder; its scheduler; networks without weights yet
    explain          an error of a library, as one of ours
    devices, quiet   where it runs; libraries that do not talk

Data flows source -> recipe -> pipeline. Nothing is pickled, nothing of a model's own code runs.
"""
