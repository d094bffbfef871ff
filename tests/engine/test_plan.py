"""What is kept: layers, blocks, columns, tensors."""

from dataclasses import replace

import pytest

from attn.engine.plan import Keep, make_plan
from attn.errors import RequestError
from attn.schema import Column, Layer, Segment, Sequence, Token

GRID = (3, 7)
CLIP, T5 = Segment("clip", "text", 0, 5), Segment("t5", "text", 5, 16)
IMAGE = Segment("image", "image", 0, 21, GRID)
CLIP_AFTER, T5_AFTER = Segment("clip", "text", 21, 26), Segment("t5", "text", 26, 37)


def layer(index, path, kind, queries, keys, tower="denoiser", heads=2):
    """Describe one layer."""
    return Layer(index, tower, path, kind, heads, queries, keys, head_dim=13)


LAYERS = (
    layer(0, "down.0.attn1", "self", (IMAGE,), (IMAGE,)),
    layer(1, "down.0.attn2", "cross", (IMAGE,), (CLIP, T5)),
    layer(2, "up.0.attn1", "self", (IMAGE,), (IMAGE,)),
    layer(3, "up.0.attn2", "cross", (IMAGE,), (CLIP, T5)),
    layer(4, "down.0.attn2", "cross", (IMAGE,), (CLIP, T5), tower="controlnet"),
)
SPAN = (IMAGE, CLIP_AFTER, T5_AFTER)
JOINT = (
    layer(0, "blocks.0.attn", "joint", SPAN, SPAN),
    layer(1, "blocks.0.attn2", "self", (IMAGE,), (IMAGE,)),
)


def sequence(contents, start=0):
    """Return the text of one branch; `contents` are the positions that carry words."""
    tokens = tuple(
        Token(
            start + index,
            "clip" if index < 5 else "t5",
            1,
            "x",
            index not in contents,
            False,
            0,
            1,
            None,
        )
        for index in range(16)
    )
    return Sequence(
        (replace(CLIP, start=start, stop=start + 5), replace(T5, start=start + 5, stop=start + 16)),
        tokens,
    )


def plan(model=LAYERS, start=0, **keep):
    """Make a plan of two samples and three steps."""
    sequences = {"cond": sequence({1, 2, 6}, start), "uncond": sequence({2, 9}, start)}
    return make_plan(model, sequences, Keep(**keep), samples=2, steps=3, dtype="BF16")


def measures(entry):
    """Return the tensors of a layer by block."""
    return {block.name: sorted(block.measures) for block in entry.blocks}


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ((), [1, 3, 4]),
        (("1",), [1]),
        (("0-3",), [1, 3]),
        (("3-99",), [3, 4]),
        (("1,4",), [1, 4]),
        (("4", "1"), [1, 4]),
        (("down.*",), [1, 4]),
        (("*.attn2",), [1, 3, 4]),
        (("denoiser:*",), [1, 3]),
        (("controlnet:down.*", "up.*"), [3, 4]),
        (("[du]*.0.attn?",), [1, 3, 4]),
    ],
)
def test_layers_are_chosen(patterns, expected):
    """Indices, ranges, globs and `tower:glob` choose those layers that have the block, in order."""
    assert list(plan(layers=patterns).kept.layers) == expected


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (
            {"layers": ("7",)},
            r"no layer matches '7'; there are 5 layers \(0-4\), from down\.0\.attn1",
        ),
        ({"layers": ("3-1",)}, "no layer matches '3-1'"),
        ({"layers": ("mid.*",)}, r"no layer matches 'mid\.\*'.*indices \(0-11\), or a glob"),
        (
            {"layers": ("*.attn1",)},
            r"the 2 layers that match '\*\.attn1' have no block image\.text",
        ),
        (
            {"blocks": ("image.txt",)},
            r"no layer has a block 'image\.txt'; .*Did you mean 'image\.text'\?",
        ),
        ({"blocks": ("text.image",)}, r"no layer has a block 'text\.image'"),
        (
            {"branches": ("skip",)},
            "branch 'skip' does not run in this generation; it has cond, uncond: ask for --branch "
            "cond",
        ),
    ],
)
def test_what_matches_nothing_is_refused(keep, message):
    """A layer, block or branch that does not exist is an error that lists what does."""
    with pytest.raises(RequestError, match=message):
        plan(**keep)


def test_missing_guidance_is_explained():
    """Asking for `uncond` without guidance says why it does not run."""
    with pytest.raises(RequestError, match=r"has cond \(guidance is off\)"):
        make_plan(
            LAYERS,
            {"cond": sequence({1})},
            Keep(branches=("uncond",)),
            samples=1,
            steps=1,
            dtype="F32",
        )


def test_model_without_text_keeps_everything():
    """Where there is no text, the whole matrix is kept."""
    assert plan(LAYERS[:1]).kept.blocks == ("all.all",)


def test_several_blocks_take_layers_with_any_of_them():
    """Asked for cross and self blocks, each layer keeps those that it has."""
    got = plan(blocks=("image.image", "image.t5"))
    assert [entry.layer.blocks for entry in got.layers] == [
        ("image.image",),
        ("image.t5", "image.text"),
        ("image.image",),
        ("image.t5", "image.text"),
        ("image.t5", "image.text"),
    ]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("mass", ["mass"]),
        ("means", ["map", "mass"]),
        ("maps", ["map", "mass"]),
        ("heads", ["headmap", "mass"]),
        ("factors", ["map", "mass"]),
    ],
)
def test_levels_add_detail(level, expected):
    """Each level keeps its measures of an asked block, and always the small ones of image.text."""
    got = measures(plan(level=level, blocks=("image.t5",)).layers[0])
    largest = [] if level == "mass" else ["peak", "share_max"]
    assert got == {
        "image.t5": expected,
        "image.text": sorted(["entropy", "mass", "share", *largest]),
    }


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ({"level": "maps"}, {"image": ["image", "clip", "t5"]}),
        ({"level": "mass"}, {"image": ["image"]}),
        ({"level": "mass", "blocks": ("image.t5", "text.t5")}, {"image": ["image"]}
         | {"text": ["image", "clip"]}),
        ({"level": "mass", "mass": "full"}, {}),
    ],
)  # fmt: skip
def test_totals_that_are_sums_are_not_kept(keep, expected):
    """At level `mass`, where they would be much of it, no total repeats what the masses say."""
    entry = plan(JOINT, **keep).layers[0]
    got = {
        query: [segment.name for segment in segments] for query, segments in entry.totals.items()
    }
    assert got == expected
    kept = {name: shape[-1] for name, (shape, _) in entry.shapes().items() if "/total." in name}
    assert kept == {f"0/total.{query}": len(names) for query, names in expected.items()}


def test_full_mass_adds_the_other_blocks():
    """`--mass full` keeps the masses of image keys and text rows, and nothing else of them."""
    joint, image_only = plan(JOINT, mass="full", blocks=("image.text", "image.image")).layers
    assert measures(joint)["text.image"] == measures(joint)["text.text"] == ["mass"]
    assert measures(image_only) == {"image.image": ["entropy", "map", "mass"]}


def test_entropy_is_kept_where_rows_are_whole():
    """A block over all keys has its entropy for free; others only on request."""
    cheap, requested = (plan(JOINT, entropy=entropy).layers[0] for entropy in (False, True))
    assert "entropy" not in measures(cheap)["image.text"]
    assert "entropy" in measures(requested)["image.text"]
    assert [block.whole_rows for block in requested.blocks] == [False]


def test_content_columns_leave_the_rest_together():
    """By default a map has a column per token of the prompt, and one per segment for the rest."""
    got = plan()
    assert got.kept.columns == (
        Column("clip", 1),
        Column("clip", 2),
        Column("clip", None),
        Column("t5", 6),
        Column("t5", None),
    )
    rest = (5, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    assert got.layers[0].blocks[0].groups == ((1,), (2,), (0, 3, 4), (6,), rest)


def test_columns_of_two_branches_are_shared():
    """With two branches kept, a position that is content in either has its own column."""
    columns = plan(branches=("cond", "uncond")).kept.columns
    assert [column.position for column in columns] == [1, 2, None, 6, 9, None]


def test_all_columns_on_request():
    """`--keys all` keeps every key and has no rest."""
    got = plan(keys="all")
    assert [column.position for column in got.kept.columns] == list(range(16))
    assert got.layers[0].blocks[0].groups == tuple((index,) for index in range(16))


def test_columns_count_in_the_sequence():
    """Text that stands behind the image in the sequence finds its own keys in every layer."""
    block = plan(JOINT, start=21, blocks=("image.all",)).layers[0].blocks[0]
    assert block.keys == tuple(range(37))
    assert block.groups[:21] == tuple((index,) for index in range(21))
    assert block.groups[21:] == ((22,), (23,), (21, 24, 25), (27,), (26, *range(28, 37)))


def test_segment_blocks_start_at_their_own_keys():
    """A block of one segment counts its columns from that segment's first key."""
    block = plan(JOINT, start=21, blocks=("image.t5",)).layers[0].blocks[0]
    assert block.keys == tuple(range(26, 37))
    assert block.groups == ((1,), (0, *range(2, 11)))


def test_shapes_have_branch_and_sample_first():
    """Every tensor's shape is known before the run."""
    shapes = plan(branches=("cond", "uncond"), level="heads").step_shapes()
    assert shapes["1/headmap.image.text"] == ((2, 2, 2, 21, 6), "F16")
    assert shapes["1/mass.image.text"] == ((2, 2, 2, 16), "F32")
    assert shapes["1/total.image"] == ((2, 2, 2, 2), "F32")
    assert shapes["1/share.image.text"] == ((2, 2, 16), "F32")


def test_means_are_kept_once():
    """Level `means` moves maps, in float32, from the steps to the file of means."""
    got = plan(level="means")
    assert set(got.mean_shapes()) == {f"{index}/map.image.text" for index in (1, 3, 4)}
    assert got.mean_shapes()["1/map.image.text"] == ((1, 2, 21, 5), "F32")
    assert not set(got.mean_shapes()) & set(got.step_shapes())


def test_factors_have_the_models_dtype():
    """Query and key are kept as they are, with grouped keys as few as they are."""
    grouped = (replace(LAYERS[1], num_key_heads=1),)
    shapes = plan(grouped, level="factors").step_shapes()
    assert shapes["1/query"] == ((1, 2, 2, 21, 13), "BF16")
    assert shapes["1/key"] == ((1, 2, 1, 16, 13), "BF16")
    assert shapes["1/lse"] == ((1, 2, 2, 21), "F32")
    assert shapes["1/scale"] == ((1, 2), "F32")


def test_factors_need_the_head_size():
    """A backend that does not say its head size cannot plan factors."""
    unknown = (replace(LAYERS[1], head_dim=None),)
    with pytest.raises(RequestError, match=r"does not say the head size of down\.0\.attn2"):
        plan(unknown, level="factors").step_shapes()


def test_bytes_grow_by_step():
    """The prediction is per step, plus the means once."""
    item, three = (replace(plan(level="means"), steps=steps).bytes for steps in (1, 3))
    means = replace(plan(level="means"), steps=0).bytes
    assert three - item == 2 * (item - means) > 0
    assert means > 3 * 2 * 21 * 5 * 4


def test_layers_share_positions():
    """Layers that read the same have one list of it: of a large picture it has millions."""
    blocks = [block for entry in plan().layers for block in entry.blocks]
    places = {block.queries: id(block.queries) for block in blocks}
    assert len({id(block.queries) for block in blocks}) == len(places) < len(blocks)
