"""`attn compare`: what differs between runs, with intervals.

compare                    the verb
options                    what it takes: capture's options, and what is compared
lora_specs                 LoRAs as people type them
variant_runs               every variant from the same noise, with one model in memory
lora_runs, sketch_runs     variants by LoRA, by drawing
pairing, variants          which traces belong together; pair by pair
lora_files                 LoRAs of runs that are there, found by their checksums
results                    tables, figures and report of runs that are there
figures                    the figures
answer, report             sentences made from the tables, and the page that they begin
"""
