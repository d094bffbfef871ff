"""The list of what was opened: ten thousand traces within a second.

items     find traces and comparisons below folders
ends      the first and the last fields of a manifest, without what lies between
rows      what the list says of each trace, kept from one look to the next
library   all of it, piece by piece as somebody asks for more
thumbs    small pictures
"""
