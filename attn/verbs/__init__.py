"""The verbs that put the parts together, for Python and the command line alike."""
