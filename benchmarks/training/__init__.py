"""How the shipped demo models are trained."""
