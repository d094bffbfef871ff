"""Words and phrases in a trace: which are meant, which tokens they have, what they get.

    occurrences, prompts   the words of a prompt, and their tokens in a text segment
    sums                   sums over the tokens of words
    maps                   a map per word, added up over layers of one tower and steps
    concepts               a map per word outside the prompt, likewise
    concept_keys           the same of some of these words, made of queries and keys

All verbs find words here, so that the same text means the same tokens everywhere.
"""
