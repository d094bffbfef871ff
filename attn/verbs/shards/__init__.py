"""One run made by several processes: which traces are whose, and putting folders together.

parts   `--shard I/N`: a part of a planned run, with a journal and a lock of its own
merge   `attn merge`: folders of parts become that of the run
"""
