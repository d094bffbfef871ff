"""`attn ablate`: change the model's attention, and see whether that does what its maps say.

cuts      what people type, as interventions
options   of the command
ablate    generate the baseline, every cut and random controls from the same noise; compare
effects   what a cut did to each picture, inside and outside of its word's map
answer    the first paragraph of the report
"""
