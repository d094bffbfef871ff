"""Cuts of models that write a text: what they change of it.

runs      the traces of a cut, pair by pair, and the measures of each text
answer    sentences made from `cuts.csv`
results   written: tables, figure and report
"""
