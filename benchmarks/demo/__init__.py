"""The demo models: how they are trained, what they score, and what work with them takes."""
