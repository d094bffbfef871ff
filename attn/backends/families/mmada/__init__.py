"""MMaDA and LLaDA: language models that write by unmasking.

mmada           the backend: opens models
options         its options
session         a loaded model that writes text
image_session   the same, writing the tokens of an image
llama           the checkpoints as what they are: Llama without a causal mask
chat            their vocabularies, which have a mask
unmask          writing text
text_to_image   writing image tokens
codes           which ids they have, and the text around their grid
history         what each step wrote
"""
