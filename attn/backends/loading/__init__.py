"""From what the user named to networks with all their weights, or one error that says why not.

    source           a folder, a file, a hub id or a demo
    hub              models of the hub, downloaded or downloaded before
    fingerprints     which bytes a model is
    family           the parts that a family's models are made of
    locate, recipe   where every part comes from
    compatibility    whether the parts go together
    weights/         one part of one file becomes one network with all its weights
    tokenizers       found on this machine
    templates/       of chats: programs of others, in bounds
    library_classes  classes that the files of a model name
    pipeline         all parts together
    scheduler        of a folder
    explain          an error of a library, as one of ours
    devices, quiet   where it runs; libraries that do not talk

Data flows source -> recipe -> pipeline. Nothing is pickled, nothing of a model's own code runs.
"""
