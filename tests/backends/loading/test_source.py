"""Find a model, and say which bytes it was."""

import hashlib
import os
import shutil
import socket
from pathlib import Path

import huggingface_hub
import pytest
from diffusers import DiffusionPipeline

from attn import demo
from attn.backends.loading.fingerprints import fingerprint
from attn.backends.loading.source import Source, existing, resolve
from attn.errors import ModelError

MEDIUM = ("medium",)


def refusal(source, variants=MEDIUM):
    """Return the message that a source is refused with."""
    with pytest.raises(ModelError) as error:
        resolve(source, "sd35", variants)
    return str(error.value)


@pytest.mark.parametrize(
    ("asked", "variants", "name"),
    [("demo", (), "sd15"), ("demo", MEDIUM, "sd35"), ("demo:medium", MEDIUM, "sd35:medium")],
)
def test_demo(demo_cache, asked, variants, name):
    """`demo` is the family's own model, `demo:VARIANT` another of its."""
    result = resolve(asked, name.partition(":")[0], variants)
    assert result == Source(asked, demo.checkpoint(name), revision=None)


@pytest.mark.parametrize(
    ("variants", "listed"), [(MEDIUM, "demo, demo:medium"), ((), "demo")], ids=["some", "none"]
)
def test_unknown_variant(variants, listed):
    """A demo model that the family does not have gets the list of those that it has."""
    message = f"no demo model 'demo:large' for sd35; there are {listed}"
    assert refusal("demo:large", variants) == message


@pytest.mark.parametrize("kind", [str, Path])
def test_folder(tmp_path, kind):
    """A folder is taken as it is, as text or as a path."""
    assert resolve(kind(tmp_path), "sd35", ()) == Source(str(tmp_path), tmp_path)


def test_folder_before_hub(tmp_path, monkeypatch, offline):
    """A folder whose name looks like a hub id is the folder."""
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve("owner/name", "sd35", ()) == Source("owner/name", Path("owner/name"))


def test_home(tmp_path, monkeypatch):
    """`~` is the user's home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert resolve("~/model", "sd35", ()).path == tmp_path / "model"


@pytest.mark.parametrize("ending", [".ckpt", ".pt", ".pth", ".bin", ".CKPT"])
def test_pickled_file(tmp_path, ending):
    """Pickled checkpoints are refused with the reason."""
    path = tmp_path / f"model{ending}"
    path.touch()
    assert refusal(path) == (
        f"{path} is a pickled checkpoint, which could run any code when opened; "
        "convert it to .safetensors with a tool that you trust"
    )


@pytest.mark.parametrize("name", ["model.safetensors", "notes.txt"])
def test_file(tmp_path, name):
    """Any other file is taken; what is in it is looked at later."""
    path = tmp_path / name
    path.touch()
    assert resolve(path, "sd35", ()) == Source(str(path), path)


@pytest.mark.parametrize(
    "asked", ["", "/no/such/folder", "./model", "a/b/c", "name", "a/b.safetensors", "a/b.ckpt"]
)
def test_nowhere(offline, tmp_path, monkeypatch, asked):
    """What is neither there nor a hub id is refused, without asking the network."""
    monkeypatch.chdir(tmp_path)
    assert refusal(asked) == (
        f"no model at '{asked}': expected a diffusers folder, a .safetensors file, "
        "a hub id (owner/name), or demo or demo:medium"
    )


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (
            "here/sdxl",
            "there is a 'here' here without 'sdxl' in it; if this is a hub id, say hub:",
        ),
        ("here/loop", "this symbolic link leads nowhere, or in a circle"),
        (
            "loop/sdxl",
            "there is a 'loop' here without 'sdxl' in it; if this is a hub id, say hub:",
        ),
        ("nowhere", "this symbolic link leads nowhere, or in a circle"),
    ],
)
def test_local_names_stay_here(offline, tmp_path, monkeypatch, asked, reason):
    """A path that leads nowhere is no hub id: its name is not told to the network."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "loop").symlink_to("loop")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("gone")
    assert refusal(asked).startswith(f"no model at '{asked}': {reason}")


def test_unreachable():
    """A name that no file can have is an error, not a crash."""
    assert refusal("a prompt by mistake " * 20).startswith("cannot look for a prompt by ")
    with pytest.raises(ModelError, match=r"^vae=nowhere: there is no such file or folder$"):
        existing("nowhere", "vae")


def test_hub(monkeypatch, tmp_path):
    """A hub snapshot is known by its commit, which is the name of its folder."""
    snapshot = tmp_path / "snapshots" / "0a1b2c"
    requested = {}

    def download(name, **arguments):
        requested.update(arguments, name=name)
        return str(snapshot)

    monkeypatch.setattr(DiffusionPipeline, "download", download)
    result = resolve("hub:owner/name-1.0", "sd35", ())
    assert result == Source("owner/name-1.0", snapshot, "0a1b2c")
    assert requested == {"name": "owner/name-1.0", "use_safetensors": True}
    assert fingerprint({}, result.revision)() == {"revision": "0a1b2c"}


@pytest.mark.parametrize("error", [OSError, ValueError, RuntimeError])
def test_hub_out_of_reach(monkeypatch, error):
    """Whatever the hub fails with is one line."""

    def download(name, **arguments):
        raise error("\nno connection\nand so on")

    monkeypatch.setattr(DiffusionPipeline, "download", download)
    message = "owner/name could not be had from the hub: no connection"
    assert refusal("hub:owner/name") == message


def test_a_hub_id_alone(monkeypatch, tmp_path, sealed_off):
    """Without `hub:` no name leaves the machine: it may be a path that was mistyped."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert refusal("owner/name") == (
        "no model at 'owner/name': there is no such folder here, and no model of this name was "
        "downloaded from the hub before. If it is a folder, check the path; to download owner/name "
        "from huggingface.co, say hub:owner/name"
    )
    snapshot = tmp_path / "models--owner--name" / "snapshots" / "0a1b2c"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--owner--name" / "refs").mkdir()
    (tmp_path / "models--owner--name" / "refs" / "main").write_text("0a1b2c")
    assert resolve("owner/name", "sd35", ()) == Source("owner/name", snapshot, "0a1b2c")


@pytest.fixture
def sealed_off(monkeypatch):
    """Let every attempt to reach the network fail the test."""

    def connect(*arguments):
        raise AssertionError("network")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


def digest(data):
    """Return the SHA-256 of bytes, as text."""
    return hashlib.sha256(data).hexdigest()


def test_fingerprint(tmp_path):
    """The fingerprint is the hash of lines `<hash>  <path>`, of configurations and weights."""
    files = {"unet/b.safetensors": b"weights", "unet-x/a.json": b"{}", "unet/a.json": b"[]"}
    others = {"README.md": b"text", "unet/old.bin": b"pickle"}
    for name, data in (files | others).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    lines = "".join(f"{digest(files[name])}  {name}\n" for name in sorted(files))
    expected = {"sha256": digest(lines.encode())}
    assert fingerprint({"": tmp_path}, None)() == expected


def test_fingerprint_of_several(tmp_path):
    """Of what lies in several places each file is named too, where they lie is not."""
    files = {"a.safetensors": b"one", "vae/b.safetensors": b"two", "vae/c.json": b"three"}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    hashes = {name: digest(data) for name, data in files.items()}
    lines = "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    indices = {"vae": tmp_path / "vae", "a.safetensors": tmp_path / "a.safetensors"}
    expected = {"sha256": digest(lines.encode()), "files": hashes}
    assert fingerprint(indices, None)() == expected
    assert fingerprint(indices, "0a1b2c")() == {"revision": "0a1b2c"} | expected


def test_fingerprint_of_another_byte(copied):
    """One other byte in one file of weights is another model."""
    folder = copied("sd35")
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    before = fingerprint({"": folder}, None)()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    after = fingerprint({"": folder}, None)()
    assert set(before) == set(after) == {"sha256"}
    assert before != after


def test_fingerprint_of_another_name(tmp_path):
    """The same bytes under another name are another model; the folder's own name plays no role."""
    for folder, name in (("one", "a.json"), ("two", "b.json"), ("three", "a.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"{}")
    item, two, three = (fingerprint({"": tmp_path / f}, None)() for f in ("one", "two", "three"))
    assert item == three != two


def test_fingerprint_follows_links(tmp_path):
    """Weights of a linked folder are of the model, under the name that they are read by."""
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "a.safetensors").write_bytes(b"one")
    for name in ("linked", "copied"):
        (tmp_path / name).mkdir()
    (tmp_path / "linked" / "vae").symlink_to(tmp_path / "vae")
    shutil.copytree(tmp_path / "vae", tmp_path / "copied" / "vae")
    linked, copied = (fingerprint({"": tmp_path / name}, None)() for name in ("linked", "copied"))
    assert linked == copied
    (tmp_path / "vae" / "a.safetensors").write_bytes(b"two")
    assert fingerprint({"": tmp_path / "linked"}, None)() != copied


@pytest.mark.parametrize("name", ["merges.txt", "spiece.model", "chat_template.jinja"])
def test_fingerprint_of_vocabularies(tmp_path, name):
    """Whatever a tokenizer is read from counts; what is only read by people does not."""
    (tmp_path / name).write_text("one")
    before = fingerprint({"": tmp_path}, None)()
    (tmp_path / "README.md").write_text("text")
    assert fingerprint({"": tmp_path}, None)() == before
    (tmp_path / name).write_text("two")
    assert fingerprint({"": tmp_path}, None)() != before


def test_fingerprint_of_a_circle(tmp_path):
    """Links that lead in a circle, and a link to everything, are refused when a model is opened."""
    (tmp_path / "again").symlink_to(tmp_path)
    with pytest.raises(ModelError, match="again: its symbolic links lead in a circle"):
        fingerprint({"": tmp_path}, None)
    (tmp_path / "again").unlink()
    (tmp_path / "all").symlink_to("/")
    with pytest.raises(ModelError):
        fingerprint({"": tmp_path}, None)


def test_fingerprint_of_a_pipe(tmp_path):
    """What is no regular file is an expected error, and is not waited for."""
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(ModelError, match="this is no regular file"):
        fingerprint({"": tmp_path}, None)()
