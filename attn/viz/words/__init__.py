"""Figures of words.

heatmaps, curves               where words are looked at, and how much, step by step
dominant, cells                which word leads where; the image in equal cells
evolution, evolution_frames    how a word's map forms
word_colours                   which colour a word has
run_figures, summary           the figures of a run by itself; a collection's page
"""
