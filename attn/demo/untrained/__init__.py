"""Tiny models of random weights, built where they are opened, by `build` of each module.

*           a family each, named as that
networks    what they share
"""
