"""Controls of LoRAs: which variants they are, and their effects held against each other.

roles     which variant is a control of which, as their LoRAs tell
ratios    ratios of two means with their intervals
controls  effects of LoRAs, of random changes, of parts
leak      effects with and without the trigger words
"""
