"""The commands, a file each: options in, one verb, lines or JSON out.

ablate, analyze, backends, capture, compare, evaluate, gallery, lora, merge, verify, view
"""
