"""What the text encoders of a pipeline read of a prompt, and which words its tokens are of.

tokens           what one encoder reads, with offsets and words
templates        likewise of a chat model, with its template around the prompt
prompts          of all encoders of a pipeline
encoders         what they are really given, compared with that
prompt_syntax    syntax of other programs in a prompt, which is plain text here
emphasis         weights of words
"""
