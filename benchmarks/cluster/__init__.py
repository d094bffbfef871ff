"""Runs of many workers, with a stub in the place of a model."""
