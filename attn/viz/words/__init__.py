"""Figures of words: heatmaps, curves, the leading word, how a map forms, a collection's page."""
