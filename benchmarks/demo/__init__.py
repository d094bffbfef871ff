"""The demo models: how they are trained, what they score and take, and the figures of the docs."""
