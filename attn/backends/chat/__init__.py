"""What families of language models share: how they are opened, and what they read.

backend            a model's folder and its tokenizer
prompts            a prompt as the tokens that a model reads, and which is which part of it
"""
