"""What a trace is: plain data that every family writes and every analysis reads.

A *trace* is one captured generation. Its tensors are named `<layer>/<measure>.<block>`
(`7/map.image.text`); their first axes are `branch` and `sample`, then the axes in `MEASURES`.
A *block* is `<query part>.<key part>` of a layer, where a part is `image`, `text`, `all` or the
name of one segment.

    layout     sequences: segments and their tokens, and the layers that read them
    blocks     which blocks a layer has, and the positions and columns in them
    rows       where their positions are in a batch of sequences that differ in length
    layer_names   what people call a layer
    interventions   what is changed of it meanwhile
    requests   what is asked of a model, and the forwards that it announces
    manifest   `trace.json`, and the axes of every measure

All names are here; plugins import them from `attn.schema`.
"""

from attn.choices import Keys, Level
from attn.schema.blocks import (
    block_columns,
    block_names,
    in_range,
    layer_matches,
    part,
    positions,
    query_parts,
    without_mass,
)
from attn.schema.interventions import (
    ON_LOGITS,
    ROLES,
    SWAPS,
    WITH_AMOUNT,
    ActName,
    CutTarget,
    Intervention,
)
from attn.schema.layer_names import kohya_name, name_layers, short_name
from attn.schema.layout import (
    SINK,
    TEMPLATE,
    TEMPLATE_END,
    UNKNOWN,
    Column,
    Gate,
    Grid,
    Kind,
    Layer,
    LayerKey,
    Plane,
    Segment,
    SegmentKind,
    Sequence,
    Token,
    with_sink,
)
from attn.schema.manifest import (
    CONCEPT_MEASURES,
    FORMING,
    FORMING_ROW,
    GATE_STATISTICS,
    MEASURES,
    SCHEMA,
    SKETCH,
    SKETCH_GROUND,
    STEP_MEASURES,
    VIDEO,
    Kept,
    Manifest,
    SampleText,
    Shard,
    Step,
    forming_names,
    image_names,
    video_names,
)
from attn.schema.requests import LORA_PARTS, UNCOND, Call, Emphasis, ExistingPicture, Lora, Request
from attn.schema.rows import ABSENT, Lengths, RowLayout, place
from attn.words import Word, find_words, word_at

__all__ = [
    "ABSENT",
    "CONCEPT_MEASURES",
    "FORMING",
    "FORMING_ROW",
    "GATE_STATISTICS",
    "LORA_PARTS",
    "MEASURES",
    "ON_LOGITS",
    "ROLES",
    "SCHEMA",
    "SINK",
    "SKETCH",
    "SKETCH_GROUND",
    "STEP_MEASURES",
    "SWAPS",
    "TEMPLATE",
    "TEMPLATE_END",
    "UNCOND",
    "UNKNOWN",
    "VIDEO",
    "WITH_AMOUNT",
    "ActName",
    "Call",
    "Column",
    "CutTarget",
    "Emphasis",
    "ExistingPicture",
    "Gate",
    "Grid",
    "Intervention",
    "Kept",
    "Keys",
    "Kind",
    "Layer",
    "LayerKey",
    "Lengths",
    "Level",
    "Lora",
    "Manifest",
    "Plane",
    "Request",
    "RowLayout",
    "SampleText",
    "Segment",
    "SegmentKind",
    "Sequence",
    "Shard",
    "Step",
    "Token",
    "Word",
    "block_columns",
    "block_names",
    "find_words",
    "forming_names",
    "image_names",
    "in_range",
    "kohya_name",
    "layer_matches",
    "name_layers",
    "part",
    "place",
    "positions",
    "query_parts",
    "short_name",
    "video_names",
    "with_sink",
    "without_mass",
    "word_at",
]
