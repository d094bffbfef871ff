"""`attn compare`: what differs between runs, with intervals.

compare                    the verb
options                    what it takes: capture's options, and what is compared
lora_specs                 LoRAs as people type them
variant_runs               every variant from the same noise, with one model in memory
lora_runs, sketch_runs     variants by LoRA, by drawing
pairing, variants          which traces belong together; pair by pair
figures                    the figures
"""
