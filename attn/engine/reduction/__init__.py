"""What was seen, reduced on the device to what a trace keeps.

measures    masses, shares, peaks, entropies and maps of one kernel call
batching    small layers of one form, measured at once
means       running means of maps over steps
gates       statistics of what is multiplied with an attention's output
"""
