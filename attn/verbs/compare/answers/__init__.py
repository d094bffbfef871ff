"""Sentences of `attn compare`, by what they are about.

images     how much images change, and whether that can be seen
layers     where words change, and what the mean over layers hides
sweeps     from where on a sweep works, is seen, and breaks images
drawings   what a drawing changes, or what changes on it
"""
