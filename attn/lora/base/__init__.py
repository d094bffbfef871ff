"""The model that a LoRA changes: where its weights are, and whether the LoRA fits them.

weights    open a model's weights by path, without building it
layouts    the paths that the same weights have in other programs' files
fit        match the modules of a LoRA with the weights
"""
