"""Pictures: pure functions from labelled arrays to matplotlib figures.

Nothing here reads a trace or touches matplotlib's global state (no pyplot, no rcParams).
"""
