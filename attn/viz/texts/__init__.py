"""Pictures of written texts: unmasking, who read whom, whole matrices, the film of a text."""
