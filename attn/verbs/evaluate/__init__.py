"""`attn evaluate`: do the maps of words find what the words name?

evaluate       the verb
options        what it takes
truths         where that is: in the shapes world as its judge sees it, or in a folder of masks
masks          a folder with a mask for each word
annotations    folders as COCO and VOC lay them out
answer         what the scores say, in sentences
results        tables, figure and page
pieces         the scores of single traces, kept until the tables of all are made
sink_table     `--sinks`: the published rules side by side
"""
