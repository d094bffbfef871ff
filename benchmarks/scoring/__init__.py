"""Scores where the truth is known, of heatmaps and of pictures; no command reaches them."""
