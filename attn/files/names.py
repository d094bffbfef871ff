"""Names of files that several parts read."""

SAFETENSORS = ".safetensors"
"""Ending of weights, of LoRAs, and of the tensors of a trace."""
COLLECTION = "index.json"
"""What lists the traces of a collection, in its folder."""
