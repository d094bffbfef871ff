"""Figures of written texts: unmasking, who read whom, whole matrices, the animation of a text."""
