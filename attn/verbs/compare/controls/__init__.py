"""Controls of LoRAs among the variants of a comparison.

controls          which variants are controls, and their tables
leak, triggers    the same variants without the trigger words
cut_effects, cut_answer   what cuts of attention did, in numbers and in sentences
weakening         heads weakened in the order of their relevance, and in the reverse order
cut_shapes        what they did to the objects of the shapes world
control_answer    sentences made from these tables
control_figures, null_figures   figures
block_lists       block weights as other tools read them
"""
