"""Networks to measure with.

Those of diffusers as tiny configurations; two models of published shapes, `shapes`; and single
blocks of published sizes, `blocks`.
"""
