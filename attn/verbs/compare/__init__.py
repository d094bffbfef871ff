"""`attn compare`: what differs between runs, with intervals.

compare                    the verb
options                    what it takes: capture's options, and what is compared
runs/                      runs that are generated: by LoRA, by drawing; LoRAs of runs
pairing, variants          which traces belong together; pair by pair
controls/                  variants that are controls of others: null, parts, without triggers
pieces                     what was read of single traces, kept until they are compared
requirements               refuse early what could not be compared
findings, sweeps           what there is to say of runs that are there; whether they are a sweep
results, compared          written: tables, figures and report; what is left of them
texts/                     the same of texts that were written with a cut
scenes, figures, run_figures   what the figures show, and the figures
answers/                   sentences about sweeps and drawings
answer, rows, report       sentences made from the tables' rows, and the page that they begin
"""
