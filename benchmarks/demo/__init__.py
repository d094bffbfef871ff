"""The demo models: how they are trained, and what they score."""
