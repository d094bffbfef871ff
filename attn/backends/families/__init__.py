"""Our families of models, one file or folder each; removing one removes the family.

sdxl        Stable Diffusion XL
sd15        Stable Diffusion 1.x
unet        what those two share
sd35        Stable Diffusion 3.5 and 3
flux        FLUX.1
cross       transformers whose blocks attend to the picture, then to the text: PixArt
gated       SD3.5 with gates on its attention
scribble/   Stable Diffusion with a drawing
mmada/      language models that write by unmasking
hf/         causal language models of transformers
"""
