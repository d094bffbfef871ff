"""Reading files: records, oddities, what can be loaded, and files that are something else."""

import json
import math
import os
import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attn import lora
from attn.errors import ModelError
from attn.lora.facts import describe
from tests.helpers.models.lora_files import (
    ALPHA,
    KOHYA,
    MEASURED,
    RANK,
    RELATIVE,
    normal,
    pair,
    write,
)

TO_Q, TO_K = KOHYA.format(1, "to_q"), KOHYA.format(2, "to_k")


@pytest.fixture
def rng():
    return np.random.default_rng(31)


@pytest.fixture
def save(tmp_path):
    """Write tensors and read them as LoRA."""

    def saved(tensors, model=None, **metadata):
        return lora.read(write(tmp_path / "a.safetensors", tensors, **metadata), model)

    return saved


def kinds(read):
    return [oddity.kind for oddity in read.oddities]


def test_a_module(save, rng):
    """A module says where it is, how it is stored and how much it changes."""
    (module,) = save(pair(rng).named(TO_K)).modules
    assert (module.name, module.tower, module.spelling) == (TO_K, "denoiser", "kohya")
    assert (module.block.name, module.target) == ("down_blocks.1.attentions.0", "cross_attention")
    assert (module.rank, module.alpha, module.scale) == (RANK, ALPHA, ALPHA / RANK)
    assert (module.kind, module.dtypes, module.is_dora) == ("lora", ("F32",), False)
    assert (module.base_path, module.relative, module.problem) == (None, None, None)


def test_groups(save, rng):
    """Norms of groups are joined by squares, so shares add up to 1."""
    tensors = pair(rng).named(TO_Q) | pair(rng).named(TO_K)
    tensors |= pair(rng).named("lora_te1_text_model_encoder_layers_0_mlp_fc1")
    read = save(tensors)
    norms = [module.norm for module in read.modules]
    assert read.norm == pytest.approx(math.hypot(*norms))
    assert [group.name for group in lora.towers(read)] == ["denoiser", "text_encoder"]
    targets = [(group.tower, group.name) for group in lora.targets(read)]
    assert targets == [
        ("denoiser", "cross_attention"),
        ("denoiser", "self_attention"),
        ("text_encoder", "feed_forward"),
    ]
    assert sum(group.share(read.norm) for group in lora.blocks(read)) == pytest.approx(1)


def test_hashes(save, rng):
    """The file's SHA256 and that of its weights are those of its bytes."""
    read = save(pair(rng).named(TO_Q))
    data = read.path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    assert read.sha256 == sha256(data).hexdigest()
    assert read.weights_sha256 == sha256(data[start:]).hexdigest()
    assert read.size == len(data)


def test_rank_stabilised(save, rng):
    """With peft's rank-stabilised scale the change is alpha / sqrt(rank) times the product."""
    sample = pair(rng, "lora_A", "lora_B")
    tensors = {
        f"unet.out.{end}": tensor for end, tensor in sample.tensors.items() if end != "alpha"
    }
    config = json.dumps({"unet.lora_alpha": 3, "unet.use_rslora": True})
    (module,) = save(tensors, lora_adapter_metadata=config).modules
    expected = np.linalg.norm(sample.change) * RANK / ALPHA * 3 / math.sqrt(RANK)
    assert module.norm == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("case", [*MEASURED, *RELATIVE])
def test_what_can_be_loaded(case, save, rng):
    """What has a formula that is applied can be loaded; every other kind is refused by name."""
    _, make = (MEASURED | RELATIVE)[case]
    read = save(make(rng).named(TO_Q))
    assert read.reasons == ()


@pytest.mark.parametrize("ending", ["oft_R.weight", "boft_R"])
def test_what_cannot_be_loaded(ending, save, rng):
    """A kind whose formula needs the settings of its training is refused by name."""
    read = save({f"base_model.model.{TO_Q}.{ending}": normal(rng, 2, 3)})
    title = "BOFT" if ending == "boft_R" else "OFT"
    why = "is not applied: how far it turns depends on how it was trained"
    assert read.reasons == (f"1 module is peft's {title}, which {why}",)


def test_dora(save, rng):
    """A trained magnitude is named, since the norm leaves it out."""
    read = save(pair(rng).named(TO_Q) | {f"{TO_Q}.dora_scale": normal(rng, 1, 11)})
    assert read.modules[0].is_dora
    assert not read.reasons
    assert "dora" in kinds(read)


def factors(rng, stem="unet.out"):
    """Return two factors in peft's names, without alpha."""
    tensors = pair(rng, "lora_A", "lora_B").tensors
    return {f"{stem}.{end}": array for end, array in tensors.items() if end != "alpha"}


@pytest.mark.parametrize(
    "ending",
    ["lora_C.weight", "w_norm", "diff", "on_input", "bias", "lora_A.bias", "base_layer.weight"],
)
def test_what_no_formula_reads(ending, save, rng):
    """A tensor beside two factors that their formula does not read makes a file unloadable."""
    read = save(factors(rng) | {f"unet.out.{ending}": np.ones(13, np.float32)})
    last = ending.rpartition(".")[2]
    told = f"1 module is LoRA with tensors that its formula does not read ({last})"
    assert read.reasons == (told,)
    assert read.modules[0].unread == (f"unet.out.{ending}",)
    assert "unread_tensors" in kinds(read)


@pytest.mark.parametrize("name", ["unet.in.alpha", "network_alpha", "lora_unet_out.scale"])
def test_a_strength_under_another_name(name, save, rng):
    """What may be a strength, but of no module that is there, is refused and not dropped."""
    read = save(factors(rng) | {name: np.float32(2)})
    reason = "1 tensor may be a strength, under a name that is not read"
    assert read.obstacles == {reason: (name,)}


def test_two_adapters(save, rng):
    """Two adapters in a file are both named; one that is chosen is read alone."""
    both = factors(rng, "unet.out") | factors(rng, "unet.in")
    named = {name.replace(".weight", ".style.weight"): array for name, array in both.items()}
    for name, array in factors(rng, "unet.in").items():
        named[name.replace(".weight", ".eyes.weight")] = array
    read = save(named)
    told = "the file holds 2 adapters (eyes, style)"
    assert read.reasons == (f"{told}: choose one, as in FILE:adapter=style",)
    assert [odd.message for odd in read.oddities] == [told]
    selected = lora.read(read.path, adapter="eyes")
    assert ([module.name for module in selected.modules], selected.reasons) == (["unet.in"], ())
    with pytest.raises(ModelError, match=r"no adapter 'hat'; its adapters: eyes, style"):
        lora.read(read.path, adapter="hat")


def test_embeddings(save, rng):
    """Embeddings inside of the file are named with their word, and count as nothing unknown."""
    tensors = {f"bundle_emb.mytoy.{end}": np.ones((2, 7), np.float32) for end in ("clip_l", "a")}
    read = save(factors(rng) | tensors)
    (odd,) = read.oddities
    assert (odd.kind, read.unknown, read.embeddings) == ("embeddings", (), tuple(sorted(tensors)))
    assert odd.message == (
        "2 tensors of an embedding for the word 'mytoy', which is not read: in a prompt 'mytoy' is "
        "an ordinary word"
    )


@pytest.mark.parametrize(("alpha", "is_told"), [("2", True), (f"{RANK}", False), ("None", False)])
def test_alpha_in_the_metadata_alone(alpha, is_told, save, rng):
    """Where the trainer's alpha is in no tensor, the scale stays 1 and that is said."""
    read = save(factors(rng), ss_network_alpha=alpha)
    assert [module.scale for module in read.modules] == [1.0]
    assert [odd.kind for odd in read.oddities] == ["assumed_alpha"] * is_told
    assert all("the right scale is 0.4" in odd.message for odd in read.oddities)


def test_a_clean_file_has_no_oddities(save, rng):
    """Nothing is odd about an ordinary LoRA."""
    assert save(pair(rng).named(TO_Q) | pair(rng).named(TO_K)).oddities == ()


def test_untrained(save, rng):
    """An up-weight of zeros, as before training, is reported with its module."""
    tensors = pair(rng).named(TO_Q) | pair(rng).named(TO_K)
    tensors[f"{TO_K}.lora_up.weight"] = np.zeros((13, RANK), np.float16)
    (oddity,) = save(tensors).oddities
    assert (oddity.kind, oddity.names) == ("untrained", (TO_K,))
    assert oddity.message == "1 module of zeros, as before training: no effect"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(value, save, rng):
    """NaN or infinity is reported, leaves the sums alone, and is null in JSON."""
    tensors = pair(rng).named(TO_Q) | pair(rng).named(TO_K)
    tensors[f"{TO_K}.lora_down.weight"][2, 3] = value
    read = save(tensors)
    assert [(oddity.kind, oddity.names) for oddity in read.oddities] == [("not_finite", (TO_K,))]
    assert read.norm == pytest.approx(read.modules[0].norm)
    assert json.loads(json.dumps(describe(read), allow_nan=False))["modules"][1]["norm"] is None


@pytest.mark.parametrize(
    ("ending", "problem"),
    [("lora_up.weight", "has down without up"), ("lora_down.weight", "has up without down")],
)
def test_missing_pair(ending, problem, save, rng):
    """One factor without the other is reported, and the rest of the file is still read."""
    tensors = pair(rng).named(TO_Q) | pair(rng).named(TO_K)
    del tensors[f"{TO_K}.{ending}"]
    read = save(tensors)
    assert [module.problem for module in read.modules] == [None, problem]
    assert (kinds(read), read.loadable) == (["missing_pair"], False)
    assert read.norm == read.modules[0].norm
    assert describe(read)["tensors"]["pairs"] == 1


WRONG = {
    "ranks": {"lora_down.weight": (3, 11), "lora_up.weight": (13, 5)},
    "vector": {"lora_down.weight": (3,), "lora_up.weight": (13, 3)},
    "kernel in up": {"lora_down.weight": (3, 11, 1, 1), "lora_up.weight": (13, 3, 2, 2)},
    "two kernels": {
        "lora_down.weight": (3, 11, 2, 2), "lora_up.weight": (13, 3), "lora_mid.weight": (3, 3, 2)},
    "mid": {
        "lora_down.weight": (3, 11), "lora_up.weight": (13, 3), "lora_mid.weight": (3, 5, 2, 2)},
    "alpha": {"lora_down.weight": (3, 11), "lora_up.weight": (13, 3), "alpha": (2,)},
    "empty": {"lora_down.weight": (0, 11), "lora_up.weight": (13, 0)},
    "rank": {"lora_down.weight": (9001, 1), "lora_up.weight": (1, 9001)},
    "loha": {"hada_w1_a": (13, 3), "hada_w1_b": (3, 11), "hada_w2_a": (13, 3), "hada_w2_b": (3, 7)},
    "lokr": {"lokr_w1": (2, 3), "lokr_w2_a": (13, 3), "lokr_w2_b": (5, 11)},
    "glora": {
        "a1.weight": (11, 3), "a2.weight": (5, 11), "b1.weight": (13, 3), "b2.weight": (3, 11)},
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_shapes(case, save, rng):
    """Factors that do not belong together are reported with their shapes, not multiplied."""
    broken = {f"{TO_K}.{end}": normal(rng, *shape) for end, shape in WRONG[case].items()}
    read = save(pair(rng).named(TO_Q) | broken)
    assert "wrong_shape" in kinds(read)
    assert [module.norm for module in read.modules if module.problem] == [None]


def test_zero_alpha(save, rng):
    """Alpha 0 takes a change away, and is reported as what it is."""
    read = save(pair(rng).named(TO_Q) | {f"{TO_Q}.alpha": np.float32(0)})
    assert (kinds(read), read.norm) == (["zero_alpha", "idle"], 0)


def test_no_alpha(save, rng):
    """Without alpha the scale is 1, not a power of the number of rows."""
    sample = pair(rng)
    tensors = {name: value for name, value in sample.named(TO_Q).items() if "alpha" not in name}
    (module,) = save(tensors).modules
    assert module.norm == pytest.approx(np.linalg.norm(sample.change) * RANK / ALPHA, rel=1e-6)


def test_negative_alpha(save, rng):
    """A negative alpha turns the change round; its norm is the same."""
    sample = pair(rng)
    read = save(sample.named(TO_Q) | {f"{TO_Q}.alpha": np.float32(-ALPHA)})
    assert read.modules[0].scale == -ALPHA / RANK
    assert read.modules[0].norm == pytest.approx(np.linalg.norm(sample.change), rel=1e-6)


def test_unknown_tensors(save, rng):
    """Tensors that no LoRA has are named, a lone alpha among them."""
    rest = {"surprise.weight": normal(rng, 3), "lora_unet_out_2.alpha": np.float32(1)}
    read = save(pair(rng).named(TO_Q) | rest)
    assert set(read.unknown) == set(rest)
    assert kinds(read) == ["unknown_tensors"]


def test_duplicates(save, rng):
    """One module under two names is reported: loaders apply one, or both."""
    dotted = "unet." + TO_Q.removeprefix("lora_unet_").replace("_attn1_to_q", ".attn1.to_q")
    read = save(pair(rng).named(TO_Q) | pair(rng, "lora_A", "lora_B").named(dotted))
    (oddity,) = [oddity for oddity in read.oddities if oddity.kind == "duplicated"]
    assert set(oddity.names) == {TO_Q, dotted}


def test_mixed_naming(save, rng):
    """Blocks named as in LDM beside blocks named as in diffusers are reported."""
    assert "mixed_naming" in kinds(
        save(pair(rng).named(TO_Q) | pair(rng).named("lora_unet_input_blocks_4_1_proj_in"))
    )


def test_mixed_ranks(save, rng):
    """Different ranks are counted."""
    other = {"lora_down.weight": normal(rng, 2, 11), "lora_up.weight": normal(rng, 13, 2)}
    read = save(pair(rng).named(TO_Q) | {f"{TO_K}.{end}": value for end, value in other.items()})
    assert [oddity.message for oddity in read.oddities] == ["2 ranks: 5 (1), 2 (1)"]


def test_large(save, rng):
    """A change many times as large as the others' is reported."""
    tensors = {}
    for name in ("to_q", "to_k", "to_v", "to_out_0"):
        tensors |= pair(rng).named(KOHYA.format(1, name)) | pair(rng).named(KOHYA.format(2, name))
    tensors[f"{TO_K}.lora_up.weight"] *= 1000
    (oddity,) = save(tensors).oddities
    assert (oddity.kind, oddity.names) == ("large", (TO_K,))


def test_the_hash_of_the_trainer(save, rng):
    """The trainer's hash of the weights is checked: another means that they were changed."""
    tensors = pair(rng).named(TO_Q)
    digest = save(tensors).weights_sha256
    assert save(tensors, sshs_model_hash=digest).oddities == ()
    assert kinds(save(tensors, sshs_model_hash="0" * 64)) == ["changed_weights"]


def test_another_family_in_the_metadata(save, rng):
    """A file whose metadata names another family than its modules show is reported."""
    read = save(pair(rng).named(KOHYA.format(2, "to_v")), ss_base_model_version="sd3")
    assert kinds(read) == []  # the toy's modules leave the family open
    sdxl = {"lora_down.weight": normal(rng, 3, 2048), "lora_up.weight": normal(rng, 13, 3)}
    tensors = {f"{TO_K}.{end}": value for end, value in sdxl.items()}
    assert kinds(save(tensors, ss_base_model_version="sd3")) == ["other_family"]


def test_numbers_of_tensors(save, rng):
    """Pairs, alphas and tensors of each tower are counted, and the first tensors listed."""
    tensors = pair(rng).named(TO_Q) | pair(rng).named("lora_te2_text_projection")
    result = describe(save(tensors))["tensors"]
    assert (result["count"], result["pairs"], result["alphas"]) == (6, 2, 2)
    assert result["towers"] == {"denoiser": 3, "text_encoder_2": 3}
    assert result["first"][0].keys() == {"name", "dtype", "shape", "bytes"}


def refused(path):
    with pytest.raises(ModelError) as caught:
        lora.read(path)
    return str(caught.value)


def test_no_lora(tmp_path, rng):
    """A file of other weights is refused with the names it begins with."""
    path = write(tmp_path / "a.safetensors", {"model.weight": normal(rng, 3, 5)})
    assert refused(path) == (
        f"{path} holds no LoRA: no tensor is named as kohya, peft, diffusers or LyCORIS name "
        "theirs; its names begin with model.weight"
    )


def test_damaged_files(tmp_path, rng):
    """Empty, cut, pickled and missing files are refused with what is wrong."""
    good = write(tmp_path / "a.safetensors", pair(rng).named(TO_Q)).read_bytes()
    for name, data, words in (
        ("empty.safetensors", b"", "the file is empty"),
        ("cut.safetensors", good[:-7], "the file is cut short"),
        ("a.pt", b"PK\x03\x04 and so on", "could run any code"),
        ("a.ckpt", b"\x80\x02 and so on", "could run any code"),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        assert words in refused(path)
    assert "does not exist. Did you mean" in refused(tmp_path / "none.safetensors")


ENDINGS = [
    "lora_down.weight", "lora_up.weight", "lora_mid.weight", "lora_A.weight", "lora_B.weight",
    "alpha", "dora_scale", "diff", "diff_b", "w_norm", "b_norm", "on_input", "weight", "oft_blocks",
    "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "lokr_w1", "lokr_w2",
    "lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b", "lokr_t2",
    "a1.weight", "a2.weight", "b1.weight", "b2.weight",
]  # fmt: skip
shapes = st.lists(st.sampled_from([0, 1, 2, 3]), max_size=4).map(tuple)
dtypes = st.sampled_from(["float16", "float32", "int8", "uint8", "bool"])
tensors = st.dictionaries(
    st.tuples(st.sampled_from(["lora_unet_x", "unet.y", "z"]), st.sampled_from(ENDINGS)),
    st.tuples(shapes, dtypes),
    min_size=1,
    max_size=12,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tensors)
def test_any_file(tmp_path, tensors):
    """Any mixture of known endings and shapes ends in a report that is JSON, or in a ModelError."""
    rng = np.random.default_rng(37)
    arrays = {
        f"{stem}.{end}": rng.integers(0, 2, shape).astype(dtype)
        for (stem, end), (shape, dtype) in tensors.items()
    }
    path = write(tmp_path / "a.safetensors", arrays)
    try:
        read = lora.read(path)
    except ModelError:
        return
    json.dumps(describe(read), allow_nan=False)


def test_neither_torch_nor_a_library_of_models_is_imported(tmp_path, rng):
    """The command on a file, with a chart, loads numpy and matplotlib but no torch."""
    path = write(tmp_path / "a.safetensors", pair(rng).named(TO_Q))
    probe = (
        "import sys; from attn.cli import main\n"
        "try: main()\n"
        "except SystemExit as exit: assert not exit.code, exit.code\n"
        "heavy = ('torch', 'diffusers', 'transformers', 'peft', 'xarray')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe, "lora", str(path), "-o", str(tmp_path / "out")],
        env=os.environ | {"ATTN_DISABLE_PLUGINS": "all"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == "[]\n"
    assert (tmp_path / "out" / "norms.png").is_file()
