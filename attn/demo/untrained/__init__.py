"""Tiny models of random weights, built where they are opened, by `build` of each module.

flux        FLUX.1: two kinds of blocks, CLIP and T5
pixart      PixArt-Σ: blocks of self- and cross-attention, T5
z_image     Z-Image: refiners and joint blocks, Qwen3
networks    what they share
"""
