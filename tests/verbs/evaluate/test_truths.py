"""Folders of masks, and the shapes world, as truth."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from attn.demo import judge, rendering, scenes
from attn.errors import AnalysisError, AttnError
from attn.trace.trace import open_trace
from attn.verbs.evaluate.annotations import decode_runs
from attn.verbs.evaluate.truths import find_regions, open_truth
from tests.helpers.toy_traces import manifest, write_trace

SIZE = (40, 24)
CAT = np.zeros(SIZE, bool)
CAT[4:20, 3:11] = True
CONTENT = scenes.read("a red star left of a blue circle on a white background")


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """Two pictures of `A cat, a bobcat`, 24 wide and 40 high."""
    return open_trace(write_trace(tmp_path_factory.mktemp("run") / "0003", manifest(samples=2)))


def save(path, values, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values, mode).save(path)


def read(folder, trace, sample=0):
    """Return the regions of a picture by word."""
    return {region.word: region.region for region in open_truth(str(folder))(trace, sample)}


@pytest.mark.parametrize("name", ["cat.png", "0003/cat.png", "0003-0/cat.png"])
def test_masks_of_words(name, tmp_path, trace):
    """A mask is called like its word, in a folder of the picture or alone."""
    save(tmp_path / name, CAT.astype(np.uint8) * 255)
    regions = read(tmp_path, trace)
    assert regions.keys() == {"cat"}
    assert np.array_equal(regions["cat"], CAT)


def test_second_picture_has_its_own_masks(tmp_path, trace):
    """Samples are told by a number behind the name of the trace."""
    save(tmp_path / "0003" / "cat.png", CAT.astype(np.uint8))
    save(tmp_path / "0003-1" / "cat.png", 1 - CAT.astype(np.uint8))
    assert np.array_equal(read(tmp_path, trace, 1)["cat"], ~CAT)


def test_opacity_and_several_objects(tmp_path, trace):
    """What is opaque is the word, and numbered masks of a word are one region."""
    pixels = np.full((*SIZE, 4), 200, np.uint8)
    pixels[..., 3] = 255 * CAT
    save(tmp_path / "cat-1.png", pixels)
    save(tmp_path / "cat-2.png", np.roll(CAT, 15, 0).astype(np.uint8) * 9)
    assert np.array_equal(read(tmp_path, trace)["cat"], CAT | np.roll(CAT, 15, 0))


WRONG = {
    "empty": ("cat.png", CAT * 0, "cat.png is empty, so there is nothing to be found"),
    "everything": ("cat.png", CAT * 0 + 1, "cat.png is the whole picture"),
    "another aspect": ("cat.png", CAT.T, "is 40x24, but the picture is 24x40: a mask has"),
    "no such word": ("dog.png", CAT, "dog.png: the prompt has no word 'dog'"),
    "damaged": ("cat.png", None, "could not read the mask"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_masks(case, tmp_path, trace):
    """A mask that cannot be scored against is one line that names it."""
    name, values, message = WRONG[case]
    if values is None:
        (tmp_path / name).write_bytes(b"no picture")
    else:
        save(tmp_path / name, values.astype(np.uint8))
    with pytest.raises(AnalysisError, match=message):
        read(tmp_path, trace)


def test_folder_without_masks(tmp_path):
    """An empty folder, or none, is said with what is expected."""
    with pytest.raises(AnalysisError, match="has no masks; expected WORD"):
        open_truth(str(tmp_path))
    with pytest.raises(AnalysisError, match="no folder of masks; give --truth shapes"):
        open_truth(str(tmp_path / "nowhere"))


def coco(folder, segmentation, name="0003.jpg"):
    (folder / "instances.json").write_text(
        json.dumps(
            {
                "info": {},
                "images": [{"id": 7, "file_name": name, "height": 40, "width": 24}],
                "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
                "annotations": [
                    {"image_id": 7, "category_id": at, "segmentation": segmentation, "iscrowd": 0}
                    for at in (1, 2)
                ],
            }
        )
    )


RUNS = np.diff(np.flatnonzero(np.diff(CAT.T.ravel(), prepend=False, append=True)), prepend=0)


@pytest.mark.parametrize(
    "segmentation",
    [
        [[3, 4, 10, 4, 10, 19, 3, 19]],
        {"size": [40, 24], "counts": RUNS.tolist()},
    ],
    ids=["polygon", "runs"],
)
def test_coco(segmentation, tmp_path, trace):
    """Objects of the picture that is called like the trace; categories that it lacks are left."""
    coco(tmp_path, segmentation)
    regions = read(tmp_path, trace)
    assert regions.keys() == {"cat"}
    assert np.array_equal(regions["cat"], CAT)
    assert read(tmp_path, trace, 1) == {}


def test_coco_runs_as_text():
    """Five bits a letter, from the fourth number on differences to the last but one."""
    assert decode_runs("61X13mN000`0") == [6, 1, 40, 4, 5, 4, 5, 4, 21]


@pytest.mark.parametrize(
    ("segmentation", "told"),
    [
        ({"counts": [5, 6]}, "are of 11 pixels, the picture has 960"),
        ({"counts": [-5, 965]}, "are of 960 pixels"),
        ({"counts": "o" * 20}, "a run has more than 60 bits"),
        ({"counts": ["x"]}, "it has neither outlines nor runs: Expected `int`, got `str`"),
        ([[0] * 2**21], "its outlines are [0-9]+ bytes, [0-9]+ with those before it; expected at"),
        ([[3, 4, 10]], "wrong number of coordinates"),
        ([[]], "at least 2 coordinates"),
    ],
)
def test_coco_nonsense(segmentation, told, tmp_path, trace):
    """Objects that are none of the picture are refused in a sentence."""
    coco(tmp_path, segmentation)
    with pytest.raises(AnalysisError, match=told):
        read(tmp_path, trace)


def test_coco_picture_beyond_reason(tmp_path, trace):
    """A picture of the right proportions that no memory holds is not laid out."""
    coco(tmp_path, [[3, 4, 10, 4, 10, 19]])
    path = tmp_path / "instances.json"
    huge = path.read_text().replace(
        '"height": 40, "width": 24', '"height": 4000000, "width": 2400000'
    )
    path.write_text(huge)
    with pytest.raises(AnalysisError, match="is 2400000x4000000, expected at most 16000000 pixels"):
        read(tmp_path, trace)


@pytest.mark.parametrize(
    ("category", "told"), [("cat", "448 outlines are to be filled"), ("dog", "")]
)
def test_coco_objects_beyond_reason(category, told, tmp_path, trace):
    """Outlines beyond some seconds of work are refused; those of other things not looked at."""
    coco(tmp_path, [[0, 0, 0, 9, 9, 9]] * 447)
    path = tmp_path / "instances.json"
    content = json.loads(path.read_text())
    content["images"][0] |= {"height": 4000, "width": 2400}
    content["categories"] = [{"id": 1, "name": category}, {"id": 2, "name": "bird"}]
    path.write_text(json.dumps(content))
    if told:
        with pytest.raises(AnalysisError, match=told):
            read(tmp_path, trace)
    else:
        assert read(tmp_path, trace) == {}


def test_voc_knows_more_names_than_numbers(tmp_path, trace):
    """A list of a million names costs no region each: only numbers that are there count."""
    save(tmp_path / "SegmentationClass" / "0003.png", (CAT * 1).astype(np.uint8))
    (tmp_path / "classes.txt").write_text("other\ncat\n" + "a\n" * 1_000_003)
    regions = read(tmp_path, trace)
    assert regions.keys() == {"cat"}
    assert np.array_equal(regions["cat"], CAT)


@pytest.mark.parametrize("names", [None, "other\ncat\n"])
def test_voc(names, tmp_path, trace):
    """A picture of class numbers, by VOC's names or those of a file."""
    number = 8 if names is None else 1
    save(tmp_path / "SegmentationClass" / "0003.png", (CAT * number).astype(np.uint8))
    if names:
        (tmp_path / "classes.txt").write_text(names)
    regions = read(tmp_path, trace)
    assert regions.keys() == {"cat"}
    assert np.array_equal(regions["cat"], CAT)


def paint(content=CONTENT):
    scene = scenes.arrange(content, np.random.default_rng(0))
    return judge.find(rendering.render(scene, 128))


def test_words_name_what_was_painted():
    """Colour and shape name their object, the background's words all that is no object."""
    scene = scenes.arrange(CONTENT, np.random.default_rng(0))
    star, circle, rest = rendering.masks(scene, 128)
    result = find_regions(CONTENT, paint())
    names = [(region.word, region.role) for region in result]
    assert names == [
        *[("red", "color"), ("star", "shape"), ("blue", "color"), ("circle", "shape")],
        *[("white", "background color"), ("background", "background")],
    ]
    for region, mask in zip(result, [star, star, circle, circle, rest, rest], strict=True):
        assert (region.region & mask).sum() > 0.97 * (region.region | mask).sum()


def test_what_was_not_painted_has_no_region():
    """An object that the model left out, or another background, is no miss of the heatmap."""
    content = replace(CONTENT, kinds=CONTENT.kinds[:1], relation=None, background="gray")
    assert [region.word for region in find_regions(CONTENT, paint(content))] == ["red", "star"]


def test_a_wrong_shape_is_still_the_object_of_its_colour():
    """Regions are found by colour: the shape word is scored on what was painted in its place."""
    kinds = (scenes.ObjectKind("red", "square"), scenes.ObjectKind("blue", "triangle"))
    result = find_regions(CONTENT, paint(replace(CONTENT, kinds=kinds)))
    assert [region.word for region in result][:4] == ["red", "star", "blue", "circle"]


def test_other_prompts_are_no_captions(trace):
    """The judge of the shapes world says nothing of other pictures."""
    with pytest.raises(AttnError, match="'A cat, a bobcat' is no caption of the shapes world"):
        open_truth("shapes")(trace, 0)
