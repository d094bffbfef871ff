"""Comparisons: what differs between runs, word by word, with intervals.

agreement       what two traces have in common
terms           what is looked at: words, phrases, the sink
reading         one pass over a trace
pairs           two traces that belong together
paired          means over pairs, intervals, effect sizes
change_tables   the tables
weights         a LoRA's weights against the change of attention
cells           the picture in equal cells
"""
