"""Our families of models, one file or folder each; removing one removes the family.

*       a family: how it loads, is laid out, and generates
unet    what those share whose denoiser is a UNet
cross   transformers whose blocks attend to the picture, then to the text: PixArt; sana, wan, too

What is known of a family without torch (parts, layouts, published sizes, its LoRAs) stands in the
file of that name in `attn.checkpoints.families`; its tiny model in `attn.demo.untrained`. It is
entered in `attn.backends.builtin`, and nowhere else.
"""
