"""A plugin that imports what its package does not require."""

import nowhere_to_be_found  # noqa: F401
