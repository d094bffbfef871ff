"""`attn analyze`: tables and figures of what was captured, without the model.

analyze             the verb
options, settings   what it takes; the options of every analysis made of it
traces, results     the analyses of one trace; what an analysis left
figures             figures over what the trace generated
earlier             results of other analyses, which stay
answer, relations_answer, sketch_answer, report   what the results say in sentences; `report.html`
absence             words that some prompts of a collection lack
collection_tables   what the traces of a collection have in common
pieces              what is kept of single traces until these tables are made
"""
