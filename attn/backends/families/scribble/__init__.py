"""Stable Diffusion with a drawing: through a ControlNet, or as tokens after those of the text.

scribble        the backend and its session
controlnet      a ControlNet beside the model that it steers
drawing         a drawing, read as the strokes that a model is given
sketch_tokens   ScribbleDiffusion, which reads the drawing as tokens
residuals       how strongly a ControlNet acts
"""
