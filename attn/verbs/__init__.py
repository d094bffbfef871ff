"""The verbs, for Python and the command line alike: each puts the parts together.

capture/   generate and record: `attn.capture`
analyze/   tables and pictures of a trace or collection: `attn.analyze`
compare/   what differs between runs: `attn.compare`
shards/    one run made by several processes: `--shard`, `attn.merge`
ablate/    what cutting attention does: `attn.ablate`
evaluate/  do maps find what words name: `attn.evaluate`
lora       what a LoRA file changes
lora_specs, lora_folders   LoRAs as people type them
gallery    a page of all runs in a folder
view       traces in a browser
verify     every digest of traces and results
options, lora_options, view_options   declared once: command line, signature and checks are
           made of them
checks     what a verb is given, each value under its name
parsing, prompt_files   what people type: seeds, sizes, bytes; lists of prompts
report     what a verb tells while it works
html, report_page, report_images   pages from templates; `report.html`, and its figures
"""
