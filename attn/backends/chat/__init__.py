"""What language models read: prompts in chat templates, token by token.

prompts            a prompt as the tokens that a model reads, and which is which part of it
templates          templates of others in bounded time and memory: template_process runs them
"""
