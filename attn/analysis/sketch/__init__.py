"""A drawing against what was made of it.

strokes    the drawing, in pixels and on the grid of the maps
shapes     its closed shapes, and which word reads which
edges      how far the edges of the image are from the strokes
tokens     where the model reads the drawing, if it reads it as tokens
residuals  how strongly a ControlNet acts
overlap    what part of a word's map lies on the strokes, near them, inside of them
regions    where words are read, as text
sketch     the analysis
"""
