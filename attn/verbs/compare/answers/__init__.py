"""Sentences of `attn compare` about what only some comparisons have.

sweeps     from where on a sweep works, is seen, and breaks images
drawings   what a drawing changes, or what changes on it
"""
