"""Figures of words.

heatmaps, curves               where words are looked at, and how much, step by step
sheets                         the image, and a panel for each of many maps
frames                         a video's words, beside each other and as a film
looks, readers                 where a place looks; what words read
dominant, cells                which word leads where; the image in equal cells
evolution, evolution_frames    how a word's map forms
concepts                       which word outside the prompt a place is closest to
word_colours                   which colour a word has
run_figures, summary           the figures of a run by itself; a collection's page
"""
