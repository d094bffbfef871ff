"""The demo models: how they are trained, what they score, and the figures of the docs of them."""
