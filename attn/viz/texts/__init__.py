"""Figures of written texts: unmasking, who read whom.

texts       flow, influence, patterns and unmasking; heading: what each shows
matrices    whole matrices
animation   how a text was written
"""
