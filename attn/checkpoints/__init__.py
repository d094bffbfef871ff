"""What a file or folder of weights is, from its headers and configurations: no torch, fast.

    headers        read and check the header of a safetensors file
    inventory      the parts of a model in it, under which prefixes
    denoisers      recognise UNets and transformers
    families/      the families, a file each: THE place to add one; family: what such a file says
    transformers   recognise transformers by the tables of their families
    layouts        where modules are in the layouts of authors and of diffusers; streams: in blocks
                   of FLUX.1 and Chroma
    lora_kinds     what tells for which models a LoRA was made; other_loras: those of no family here
    other_models   names by which files are known that are no model of ours
    probe          all of it together: what this file is
    folders        the same of a model's folder, from its configurations
    describe       a file or folder as plain data, for people and JSON
    vocabularies   where tokenizers are published
    configs/       configurations of published models, for files that tell none

A family of transformers is a file in `families`; another network is a signature in `denoisers`.
"""
