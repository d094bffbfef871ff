"""A plugin whose import raises."""

raise RuntimeError("no licence file")
