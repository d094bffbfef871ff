"""Words outside the prompt, as the picture's queries would read them; the model never does.

plans      which layers keep maps of them
replays    modules run once more, with concepts in place of the text
"""
