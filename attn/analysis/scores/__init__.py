"""How well the maps of words find what the words name, where that is known.

regions       where what a word names is in a picture, on the grid of a map
localise      the scores of one map: pointing, energy, overlap, precision, DAAM's overlap
segmentation  the protocol of ImageNet-Segmentation as ConceptAttention runs it
poolings      every way to make one map of a word: all, layer by layer, head by head, step by step
scored        the scores of a trace
intervals     means with bootstrap intervals over pictures
summary       tables over pictures, beside chance and the centre of the picture
sink_rules    what the published rules call a sink, side by side
"""
