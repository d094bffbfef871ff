"""Small traces made by hand, for tests of analyses: not square, all sizes different.

Cross-attention layers read `clip`, joint layers the picture, `clip` and `t5`. The prompt repeats a
word, has one of two tokens, and loses that one in t5; the negative prompt has other words.
"""

import csv
import json
from dataclasses import replace
from hashlib import sha256
from math import prod

import numpy as np

from attn.files.images import write_animation
from attn.schema import (
    SKETCH,
    Column,
    Kept,
    Layer,
    Manifest,
    Request,
    Segment,
    Sequence,
    Step,
    Token,
    block_columns,
    find_words,
    part,
)
from attn.trace.store import shard_file
from attn.trace.trace import MemoryFiles, Trace
from attn.trace.writer import TraceWriter
from attn.verbs.capture.collection import Entry, write_index

PROMPT = "A cat, a bobcat"
NEGATIVE = "blurry cat"

# text, word; None marks special tokens and punctuation
CLIP = [("<s>", None), ("A", 0), ("cat", 1), (",", None), ("a", 2), ("bob", 3), ("cat", 3)]
T5 = [("▁A", 0), ("▁cat", 1), (",", None), ("▁a", 2), ("</s>", None)]
UNCOND = [("<s>", None), ("blur", 0), ("ry", 0), ("cat", 1), ("</s>", None)]

Files = dict[str, dict[str, np.ndarray]]


def tokens(segment, texts, start, length):
    """Lay out tokens, padded to the segment's length."""
    listed = [*texts, *[("<pad>", None)] * (length - len(texts))]
    return tuple(
        Token(start + index, segment, index, text, text[0] == "<", text == "<pad>", 0, 0, word)
        for index, (text, word) in enumerate(listed)
    )


def sequence(branch, *, t5=True):
    """Return what one branch reads: clip at 0 to 11, t5 at 11 to 24."""
    texts = UNCOND if branch == "uncond" else CLIP
    segments = (Segment("clip", "text", 0, 11), Segment("t5", "text", 11, 24))
    read = tokens("clip", texts, 0, 11) + tokens("t5", T5, 11, 13)
    if t5:
        return Sequence(segments, read, {"t5": "bobcat"})
    return Sequence(segments[:1], read[:11])


def cross_layer(index, grid, heads, tower="denoiser"):
    """Return a layer whose queries are the picture, or a video, and whose keys are clip."""
    image = Segment("image", "image", 0, prod(grid), grid)
    clip = Segment("clip", "text", 0, 11)
    path = f"blocks.{index}.attn2"
    return Layer(index, tower, path, "cross", heads, (image,), (clip,), ("image.text",))


def joint_layer(index, grid, heads):
    """Return a layer over picture, clip and t5, in this order."""
    size = grid[0] * grid[1]
    segments = (
        Segment("image", "image", 0, size, grid),
        Segment("clip", "text", size, size + 11),
        Segment("t5", "text", size + 11, size + 24),
    )
    path = f"blocks.{index}.attn"
    return Layer(index, "denoiser", path, "joint", heads, segments, segments, ("image.text",))


CROSS = (cross_layer(1, (3, 5), 2), cross_layer(3, (6, 10), 3))
JOINT = (joint_layer(0, (3, 5), 2), joint_layer(2, (6, 10), 3))
"""Two layers of one tower each; the second has the finest grid."""

VIDEO = (cross_layer(1, (5, 2, 3), 2), cross_layer(3, (5, 4, 6), 3))
"""The same of five frames of a video."""

CLIP_WORDS = {("A", 1): [1], ("cat", 1): [2], ("a", 2): [4], ("bobcat", 1): [5, 6]}
T5_WORDS = {("A", 1): [11], ("cat", 1): [12], ("a", 2): [14], ("bobcat", 1): []}
"""Positions of the tokens of each word and occurrence."""


def manifest(layers=CROSS, *, level="maps", branches=("cond",), samples=2, steps=3):
    """Describe a trace; steps begin at 0."""
    is_joint = any(layer.kind == "joint" for layer in layers)
    read = {branch: sequence(branch, t5=is_joint) for branch in branches}
    return Manifest(
        status="complete",
        backend="toy",
        model={},
        request=Request(PROMPT, negative=NEGATIVE, seed=7, steps=steps),
        branches=tuple(branches),
        samples=samples,
        steps=tuple(Step(index, 1000.0 - index, None) for index in range(steps)),
        layers=tuple(layers),
        segments={branch: value.segments for branch, value in read.items()},
        tokens={branch: value.tokens for branch, value in read.items()},
        words=find_words(PROMPT),
        truncated={branch: value.truncated for branch, value in read.items() if value.truncated},
        kept=Kept(
            level=level,
            keys="content",
            mass="text",
            entropy=False,
            blocks=("image.text",),
            layers=tuple(layer.index for layer in layers),
            columns=columns(read.values()),
        ),
        identity={},
        shards=(),
        environment={},
        cost={},
    )


def columns(sequences):
    """Return the columns of maps: content of any branch, then the rest of the segment."""
    selected = []
    for segment in next(iter(sequences)).segments:
        content = {
            token.position
            for item in sequences
            for token in item.tokens
            if token.segment == segment.name and token.is_content
        }
        selected += [Column(segment.name, position) for position in sorted(content)]
        selected.append(Column(segment.name, None))
    return tuple(selected)


def tensors(about, seed=0):
    """Return the tensors of every file, made of random probs as a capture would fold them."""
    rng = np.random.default_rng(seed)
    files: Files = {}
    for step in about.steps:
        shard = files[shard_file(step)] = {}
        for layer in about.layers:
            shard |= fold(layer, about, rng)
    if about.kept.level == "means":
        files[shard_file(None)] = move_maps(files)
    return files


def fold(layer, about, rng):
    """Return the measures of one layer and step: mass, share, map; (branch, sample, …)."""
    queries = sum(segment.length for segment in part(layer.queries, "image"))
    shape = (len(about.branches), about.samples, layer.num_heads, queries, layer.num_keys)
    probs = rng.gamma(0.5, size=shape)
    probs /= probs.sum(-1, keepdims=True)
    total = [probs[..., key.start : key.stop].sum(-1).mean(-1) for key in layer.keys]
    text = part(layer.keys, "text")
    probs = probs[..., text[0].start :]
    mean = probs.mean(2)
    share = mean / mean.sum(-1, keepdims=True)
    kept = {"mass": probs.mean(3), "share": share.mean(2), "share_max": share.max(2)}
    result = {f"{layer.index}/{name}.image.text": kept[name].astype(np.float32) for name in kept}
    result[f"{layer.index}/total.image"] = np.stack(total, -1).astype(np.float32)
    if about.kept.level in ("maps", "means"):
        folded = fold_columns(mean, layer, about.kept.columns)
        dtype = np.float16 if about.kept.level == "maps" else np.float32
        result[f"{layer.index}/map.image.text"] = folded.astype(dtype)
    if about.kept.level == "heads":
        folded = fold_columns(probs, layer, about.kept.columns)
        result[f"{layer.index}/headmap.image.text"] = folded.astype(np.float16)
    return result


def fold_columns(mean, layer, kept):
    """Add up the keys of every column of a map, along the last axis."""
    start = part(layer.keys, "text")[0].start
    taken = {column.position for column in kept}
    groups = []
    for column in block_columns(layer, "image.text", kept):
        if column.position is not None:
            groups.append([column.position])
        else:
            own = next(key for key in layer.keys if key.name == column.segment)
            indices = range(own.start - start, own.stop - start)
            groups.append([index for index in indices if index not in taken])
    return np.stack([mean[..., group].sum(-1) for group in groups], -1)


def move_maps(files):
    """Take the maps out of the steps' files and return their means, as level `means` does."""
    shards = list(files.values())
    names = [name for name in shards[0] if "/map." in name]
    return {name: np.mean([shard.pop(name) for shard in shards], axis=0) for name in names}


def stored(files, layer, measure, step, branch=0):
    """Return one tensor in float64: (sample, …)."""
    tensor = files[shard_file(Step(step, None, None))][f"{layer.index}/{measure}.image.text"]
    return tensor[branch].astype(np.float64)


def plain_maps(about, files, positions, sample, *, steps=(0, 1, 2), layers=None, grid=(6, 10)):
    """Return a word's map: mean over layers and steps of the sum over its map columns."""
    indices = [
        index for index, column in enumerate(about.kept.columns) if column.position in positions
    ]
    maps = []
    for layer in layers or about.layers:
        for step in steps:
            stack = stored(files, layer, "map", step)[sample][:, indices].sum(-1)
            rows, columns = layer.grid
            repeat = np.ones((grid[0] // rows, grid[1] // columns))
            maps.append(np.kron(stack.reshape(layer.grid), repeat))
    return np.mean(maps, axis=0)


def write_collection(folder, seeds, about=None, *, seed=0, prompt=None, picture=(40, 24)):
    """Write a collection of one prompt; a trace's probs depend on its seed plus `seed`."""
    about = about or manifest(samples=1)
    prompt = prompt or PROMPT
    request = replace(about.request, prompt=prompt)
    about = replace(about, request=request, words=find_words(prompt))
    for index, own in enumerate(seeds):
        member = replace(about, request=replace(about.request, seed=own))
        write_trace(folder / f"{index:04d}", member, picture=picture, seed=seed + own)
    entries = [
        Entry(f"{index:04d}", "complete", about.request.prompt, own)
        for index, own in enumerate(seeds)
    ]
    write_index(folder, entries)
    return folder


def read_csv(path):
    """Return the rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def make_trace(about=None, files=None):
    """Return a trace in memory."""
    about = about or manifest()
    return Trace(MemoryFiles(about, files or tensors(about)))


def write_trace(folder, about=None, *, picture=(40, 24), partial=False, done=None, seed=0):
    """Write a trace with its generated pictures, `picture` being their (height, width).

    One whose request has frames has videos too, of which the pictures are stills. A partial one has
    as many steps as are `done`, and nothing that is made at the end.
    """
    from PIL import Image

    about = about or manifest(samples=1)
    names = [f"outputs/image-{sample}.png" for sample in range(about.samples)]
    with TraceWriter(folder, about) as writer:
        for file, files in tensors(about, seed).items():
            step = {shard_file(step): step for step in about.steps}.get(file)
            if not partial or step in about.steps[:done]:
                writer.put(step, files)
        if partial:
            return folder
        for sample, name in enumerate(names):
            (folder / name).parent.mkdir(exist_ok=True)
            pixels = np.random.default_rng(sample).integers(0, 256, (*picture, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name)
        names += write_videos(folder, about, picture)
        outputs = {name: sha256((folder / name).read_bytes()).hexdigest() for name in names}
        identity = {**about.identity, "outputs": outputs}
        writer.finish(replace(about, outputs=tuple(names), identity=identity))
    return folder


def write_videos(folder, about, size):
    """Write the videos of a trace; each frame has one shade, 10 more than the one before it."""
    from PIL import Image

    count = about.request.frames or 0
    names = [f"outputs/video-{sample}.png" for sample in range(about.samples if count else 0)]
    for name in names:
        frames = [Image.fromarray(np.full((*size, 3), 10 * at, np.uint8)) for at in range(count)]
        (folder / name).write_bytes(write_animation(frames, about.request.fps or 8))
    return names


IMAGE, HISTORY, TEXT = "outputs/image.png", "outputs/history.json", "outputs/text.txt"


def write_whole(folder, seed):
    """Write a trace of one picture that has every kind of output, with their digests."""
    from PIL import Image

    about = manifest(samples=1)
    about = replace(about, request=replace(about.request, seed=seed))
    with TraceWriter(folder, about) as writer:
        for step, files in zip(about.steps, tensors(about, seed).values(), strict=True):
            writer.put(step, files)
        (folder / "outputs").mkdir()
        chance = np.random.default_rng(seed)
        Image.fromarray(chance.integers(0, 256, (40, 24, 3), np.uint8)).save(folder / IMAGE)
        strokes = np.zeros((40, 24), np.uint8)
        strokes[8:30, 5:20] = 255
        Image.fromarray(strokes).save(folder / SKETCH)
        residuals = {"blocks": ["a"], "strength": {"cond": [[0.5], [0.25], [0.125]]}}
        (folder / HISTORY).write_text(json.dumps({"residuals": residuals}))
        (folder / TEXT).write_text("a cat")
        names = (IMAGE, SKETCH, HISTORY, TEXT)
        digests = {name: sha256((folder / name).read_bytes()).hexdigest() for name in names}
        writer.finish(replace(about, outputs=names, identity={"outputs": digests}))
    return folder
