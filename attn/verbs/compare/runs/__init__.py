"""Runs that are generated for a comparison, and the LoRAs of runs that are there.

variant_runs             every variant from the same noise, with one model in memory
lora_runs, sketch_runs   variants by LoRA, by drawing
control_variants         random changes, parts of LoRAs and of stacks
leak_runs                the same without the trigger words
lora_files               LoRAs of runs that are there, found by their checksums
"""
