"""The commands, a file each: options in, one verb, lines or JSON out."""
