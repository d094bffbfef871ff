"""Arrays by the names of their axes.

An alias names every axis of an array, in order; within one call axes of one name have one size.
`*axes`, and `*cell`, are any number of axes. The tests check all of it whenever a function of
`engine`, `trace` or `analysis` is called; at other times the aliases are for the reader only.

    sample         images, or texts, of one trace
    step, layer    in the order of generation; those that are looked at
    head           of a layer; of masses of words the first is the mean over heads
    query, key     positions that attend, and that are attended to
    group          of what is looked at together: the tokens of a word, several concepts
    concept        a word outside the prompt; its tokens are its positions
    word           of a prompt; or phrases, or what else is compared
    row, column    of the grid that an image segment is laid out on
    height, width  of a drawing or an image, pixels
    shape          closed, of a drawing
    pair, cell     two traces that belong together; whatever is compared between them
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int, UInt8
from numpy.typing import NDArray

Array = NDArray[np.float64]

WordMaps = Float64[Array, "sample word row column"]
"""Where each word is attended to; probability, 0 to 1."""
StepMaps = Float64[Array, "sample step word row column"]
"""The same, step by step."""
KeyMaps = Float64[Array, "sample row column key"]
"""Where each key is attended to."""
HeadMaps = Float64[Array, "sample head row column key"]
"""`KeyMaps` head by head."""
AnyKeyMaps = Float64[Array, "*axes row column key"]
"""Any maps of keys."""
GridMaps = Float64[Array, "*axes row column"]
"""Any maps on a grid."""
Region = Float64[Array, "row column"]
"""One number a cell of a grid."""
Strokes = Bool[NDArray[np.bool_], "height width"]
"""Where a drawing has strokes, in pixels."""
ShapeNumbers = Int[NDArray[np.integer], "height width"]
"""The closed shape of a drawing at each pixel, from 1; 0 is none."""
ShapeRegions = Float64[Array, "shape row column"]
"""The part of each cell that lies inside of each shape."""
ShapeLifts = Float64[Array, "sample word shape"]
"""How much more each word reads each shape than an even map."""
Points = Float64[Array, "point 4"]
"""Two places in pixels: row and column, row and column."""
Image = UInt8[NDArray[np.uint8], "height width 3"]
"""Red, green and blue, 0 to 255."""

GroupKeys = Float64[Array, "sample group key"]
"""What groups of queries give to each key."""
QueryWeights = Float64[Array, "query group"]
"""The part of each query in each group; columns sum to 1."""

TokenMaps = Float64[Array, "sample query key"]
"""Attention between the tokens of a text; rows sum to 1."""
HeadTokenMaps = Float64[Array, "sample head query key"]
"""The same, head by head."""

HeadQueries = Float32[NDArray[np.float32], "head query channel"]
"""The queries of each head."""
ConceptKeys = Float32[NDArray[np.float32], "head concept position channel"]
"""The keys of each concept's tokens; NaN after the tokens of a short one."""
GroupShares = Float32[NDArray[np.float32], "query group"]
"""How the groups share out 1 at each query."""

KeyMass = Float[NDArray[np.floating], "*axes key"]
"""What each key gets."""
Members = Float64[Array, "key group"]
"""1 where a key is in a group, else 0."""
GroupMass = Float64[Array, "*axes group"]
"""What each group gets; NaN for groups without keys."""

WordMass = Float64[Array, "word head step sample"]
"""What each word gets in one layer."""
WordShare = Float64[Array, "word step sample"]
"""What part of the attention to text each word gets in one layer."""
WordMeans = Float64[Array, "word sample"]
"""One number a word."""
WordCurves = Float64[Array, "word layer step sample"]
"""One number a word, layer and step."""
WordLayers = Float64[Array, "word layer sample"]
"""One number a word and layer."""

PairCells = Float64[Array, "pair *cell"]
"""What is compared, of each pair; NaN where a pair does not have it."""
PairRow = Float64[Array, "pair"]
"""One number of each pair; NaN where a pair does not have it."""
Cells = Float64[Array, "*cell"]
"""One number for each of what is compared."""
