"""Language models of transformers, which write token by token.

hf          the backend: opens models
loading     weights under the names that transformers knows them by
options     its options
session     a loaded model that writes texts
layers      which modules of a model attend, and with how many heads
pictures    what a processor makes of an image in the text
writing     writing a text: one forward a token
"""
