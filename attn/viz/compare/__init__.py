"""Figures of comparisons: one summary, changes by word, layer and head, weights of LoRAs.

comparison_scene   what all of them are about: the baseline and its variants
change_summary     the one figure that answers first
sweep_curves       words and images against a scale
pair_sheet, leak_sheet   all pairs of images; with trigger words and without
part_effects       which part of a LoRA carries its effect
null_effects       the effect of a LoRA beside that of random weights
change_*           what changed: points with intervals, bars, maps, heads, drawings
side_by_side       pictures and words beside each other
weights, lora_norms   what a LoRA changes in the weights
"""
