"""Settings of the test run."""

from hypothesis import settings

# Tests share the machine and import torch on first use: no deadlines, the same examples each time.
settings.register_profile("attn", deadline=None, derandomize=True)
settings.load_profile("attn")
