"""MMaDA and LLaDA: language models that write by unmasking.

mmada           the backend: opens models
options         its options
session         a loaded model that writes text
image_session   the same, writing the tokens of an image
llama           the checkpoints as what they are: Llama without a causal mask
chat            a prompt as a chat model reads it, token by token
templates           templates of others in bounded time and memory: template_process runs them
unmask          writing text
text_to_image   writing image tokens
history         what each step wrote
"""
