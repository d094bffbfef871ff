"""What the maps of words say by themselves, without their trace.

    dominance      which word is ahead where
    cells, areas   the same cell by cell, and as tables
    similarity     how alike two maps are
    daam           the pooling of DAAM

Arrays in, arrays and tables out.
"""
