"""What places and words read beside `image.text`: the other relations of a picture and its text.

    looks      from a place of the picture: where in the picture it looks, and which words it reads
    readers    from the words: which places of the picture they read, and which other words

`looks` is an option of the analysis `words`; the two of `readers` are analyses of their own, for
models whose text reads too.
"""
