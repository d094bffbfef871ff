"""Language models of transformers, which write token by token.

hf          the backend: opens models
options     its options
session     a loaded model that writes texts
layers      which modules of a model attend, and with how many heads
writing     writing a text: one forward a token
"""
