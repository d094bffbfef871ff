"""What a hostile world does to `attn`, by section; each is a module with `run(sample, seed)`.

    integrity  one bit of a file of a trace is changed, which whoever reads the file has to notice
    kills      commands that write are killed before each change to the disk, and by signals
    models     damaged copies of model folders are opened and run
    mutations  files that were changed in any way are read by every command that reads them

`run` returns figures by name, of a seeded sample if `sample` is a number and of everything if it is
None, and raises AssertionError with the first thing that is wrong.
"""
