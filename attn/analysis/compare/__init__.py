"""Comparisons: what differs between runs, word by word, with intervals.

agreement       what two traces have in common
terms           what is looked at: words, phrases, the sink
reading         one pass over a trace
pairs           two traces that belong together
drawings        both sides of a pair held against one drawing
spool           pairs in a file, of which one is in memory
paired          means over pairs, intervals, effect sizes
changes         measures of a pair, and how they change, term by term
change_tables   the tables
mean_maps       the maps, for Python
differences     settings in which two generations differ
written         what two written texts differ in
images          how much the generated images differ
sweep           what a scale or a file changes, and from where on
controls/       random changes, parts, no trigger words, held against a LoRA
weights         a LoRA's weights against the change of attention
"""
