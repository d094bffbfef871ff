"""Figures of written texts: unmasking, who read whom, matrices, an animation; their heading."""
