"""Texts that a model writes: who reads whom, step by step.

texts                     what these analyses share
unmasking                 when each position was decided
flow, blocks              prompt and text, block by block
influence, patterns       tokens that are read most; the shape of attention
matrices, similarity      whole matrices; how alike layers are
findings                  what each figure shows, in a sentence
report                    MMaDA's own reports
"""
