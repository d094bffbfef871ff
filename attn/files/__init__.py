"""Files: what others wrote is read with care, what we write is there whole or not at all.

    outside     read what comes from outside: regular files only, bounded, JSON that is checked
    images      decode images and videos of others, by format and size
    disk        write atomically, append to journals, say why a disk refused
    digests     whether a file is as it was written
    stamps      whether a file was written again, without reading it
    locks       a folder that one run at a time may have
    results     put a folder of results in place by one rename; remove only what is ours
    cache       the user's cache: what can be made again, and a key that tells what was made here
    remote      read what is behind a URL, through fsspec
    kept        copies in the cache, while there is room
    scratch     temporary folders in which they are built
    exchange    put a folder in place of another
    markers     what says that a folder is ours, and which files in it
    names       what files are called that several parts read; what is a URL
    spool       many values in little memory: in a file without a name
    safe_text   text that cannot steer a terminal or a spreadsheet

Everything above reads and writes through here.
"""
