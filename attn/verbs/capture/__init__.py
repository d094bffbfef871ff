"""`attn capture`: from arguments to a collection of traces.

capture        the verb
options        what it takes, and what everything that generates takes
drawings       those that come as images in memory
first_checks   what costs little, before a family is imported
prompt_syntax  weights of words and LoRAs in a prompt
families       what a backend says of that before it opens a model
jobs           the plan: every trace of a run
planning       what is kept of each trace
generation     batch by batch
manifest       what a trace says of itself
run_identity   what makes two runs the same
outputs        images and texts beside the attention
folders, collection, remains, resume   where it goes; the index; going on after a stop
"""
