"""What a tap makes of a stranger's model, whose layers, texts and axes nobody declares.

options       what the caller says of the model
modules       which of its modules are watched
calls         rows and positions of a call
readings      what a module is called to read: tokens, padding, cache
histories     the text as it grows from forward to forward
stretches     which of its positions a kernel has for queries and keys
layout        what positions are: segments, as far as they are known
texts         what they are called: tokens and words
recording     layers, blocks and steps, as they are seen
value_norms   how much a key moves
plans         what will be kept, before anything runs
traces        all of it as a trace
"""
