"""`attn analyze`: tables and figures of what was captured, without the model.

analyze             the verb
figures             figures over what the trace generated
absence             words that some prompts of a collection lack
collection_tables   what the traces of a collection have in common
"""
