"""Words and phrases of the prompt: where they are looked at, and when.

selection, select    what of a trace is looked at: layers, steps, words, phrases
shards               one pass over a trace, which every analysis of words and `compare` make
phrases              words in a row that are looked at together
word_measures        what a trace says of each word, by segment and layer
word_sums            means that leave out what was not computed
words, word_tables   the analysis `words`: maps and tables
dominance, places, cells   which word is ahead where, in the whole and cell by cell
curves               attention over the steps
evolution, evolution_texts   how one word's map forms
similarity           how alike two maps are
daam                 the pooling of DAAM
stepavg              the files of sd3.5-attention-analysis
"""
