"""Packages with backends: found, kept apart, checked.

registry       all backends by name; `find`, `load`, `installed`
entry_points   one package: from its entry point to its specs, or to the reason why not
switches       packages that the environment switches off
advice         what to do about one that fails
contained      a stranger's import can neither end the process nor stop it
memory         refuse where the libraries have no room
guard          a stranger's backend at work: faults are named with their package
answer_types   whether an answer is of the right type
validation     and whether it makes sense
"""
