"""Chat templates of others: programs, which run in bounded time and memory.

filling    hands them to a process, for all who have a tokenizer that was read
process    the process
"""
