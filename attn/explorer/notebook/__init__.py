"""Traces in a notebook.

bundle    what a cell shows: the page in a frame, a still picture where no page may run
widget    the page with all of the traces behind it, which it reads by the kernel
"""
