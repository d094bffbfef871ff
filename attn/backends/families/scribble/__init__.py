"""Stable Diffusion with a drawing: through a ControlNet, or as tokens after those of the text.

scribble        the backend: opens models, whatever their base is
options         its options, of a session and of a request
session         what both kinds of session share: the drawing
control         sessions that a ControlNet steers
tokens          sessions that read the drawing as tokens
controlnet      files of a ControlNet beside the model that it steers
drawing         a drawing, read as the strokes that a model is given
levels, strokes   a picture as levels, and the strokes in it
sketch_tokens   files and encoder of ScribbleDiffusion, whose tokens those are
residuals       how strongly a ControlNet acts
"""
