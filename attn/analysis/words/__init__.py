"""Words and phrases of the prompt: where they are looked at, and when.

selection, select    what of a trace is looked at: layers, steps, words, phrases
shards               one pass over a trace, which every analysis of words and `compare` make
phrases              words in a row that are looked at together
word_measures        what a trace says of each word, by segment and layer
words, word_tables   the analysis `words`: maps and tables
maps/                what maps say by themselves: dominance, cells, similarity, DAAM
curves               attention over the steps
frames               that of a video, frame by frame
concepts             which word outside the prompt a place is closest to
focus, concentration  which layer shows what the picture shows: `layers=best`
evolution, evolution_texts   how one word's map forms
stepavg              the files of sd3.5-attention-analysis
"""
