"""Analyses: pure functions from a trace to labelled arrays and tables, and their registry."""
