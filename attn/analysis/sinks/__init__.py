"""Sinks: keys that receive much more than others, found rather than assumed.

key_mass   what every key receives
roles      what the keys of a segment are: beginning, words, punctuation, end, padding
sinks      the analysis
tables     its tables
arrays     what its pictures show
"""
