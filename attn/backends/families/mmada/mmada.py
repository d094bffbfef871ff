"""MMaDA and LLaDA: language models that write by unmasking, every position reading every other."""

from __future__ import annotations

from attn import demo
from attn.backends.chat.backend import ModelFolder, TextBackend
from attn.backends.chat.prompts import read_template
from attn.backends.families.mmada import llama
from attn.backends.families.mmada.chat import read_vocabulary
from attn.backends.families.mmada.codes import find_codes
from attn.backends.families.mmada.image_session import ImageSession
from attn.backends.families.mmada.options import MMaDAOptions
from attn.backends.families.mmada.session import MMaDASession
from attn.backends.loading.quiet import quiet


class MMaDABackend(TextBackend):
    """Opens folders and hub ids of MMaDA and LLaDA, and the demo model."""

    Options = MMaDAOptions
    name = "mmada"
    example_prompt = demo.example_prompt("mmada")
    demo_note = demo.note("mmada")

    def open_folder(self, folder: ModelFolder, options: MMaDAOptions) -> MMaDASession:
        """Open a model that was found; see `TextBackend.open_folder`."""
        config = llama.read_config(folder.path)
        with quiet():
            vocabulary = read_vocabulary(folder.tokenizer, config)
            template_name = None if options.t2i else options.chat_template
            template = read_template(vocabulary.tokenizer, template_name)
            model = llama.empty_model(config, folder.path)
            if folder.weights:
                llama.load_weights(model, folder.path, folder.dtype)
            folder.place(model)
        info = folder.describe(model)
        if not options.t2i:
            return MMaDASession(model, vocabulary, template, options, info)
        names = (options.t2i_token, options.soi_token, options.eoi_token)
        grid = (options.image_rows, options.image_columns)
        size = config.codebook_size
        codes = find_codes(vocabulary, config.embeddings, size, grid, names)
        return ImageSession(codes, model, vocabulary, template, options, info)
