"""Packages with backends: found, kept apart, checked.

registry       all backends by name; `find`, `load`, `installed`
entry_points   one package: from its entry point to its specs, or to the reason why not
contained      a stranger's import can neither end the process nor stop it
memory         refuse where the libraries have no room
guard          a stranger's backend at work: faults are named with their package
validation     what the answers of a backend must be
"""
