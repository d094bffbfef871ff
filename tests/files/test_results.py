"""Folders of results: what is replaced, what others have in them, and what killed runs left."""

import errno
import fcntl
import json
import os
from pathlib import Path

import pytest

import attn.files.exchange
from attn.errors import AnalysisError, TraceError
from attn.files.markers import MARKER, is_marked, read_marker, write_marker
from attn.files.results import refuse_others, replaced, withdraw
from attn.files.scratch import scratch, sweep
from tests.helpers.editing import special

INDEX = "toy.json"
SCRATCH = ".attn-scratch-abcdefgh"


def make(folder, *names, text="new", **others):
    """Put results of these names in place."""
    with replaced(folder, "toy", INDEX, **others) as built:
        for name in (INDEX, *names):
            write(built / name, text)


def write(path, text="mine"):
    """Write a file, and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def look(folder):
    """Return every file, link and empty folder below a folder, but its marker."""
    result = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            result[name] = path.readlink()
        elif path.is_file() and path.name != MARKER:
            result[name] = path.read_text()
        elif path.is_dir() and not any(path.iterdir()):
            result[name] = None
    return result


@pytest.fixture
def out(tmp_path):
    """A folder with results of an earlier run."""
    make(tmp_path / "out", "a/one.csv", "two.csv", text="old")
    return tmp_path / "out"


def add_others(out):
    """Put what others have into a folder of results; return what it is."""
    write(out / "notes.txt")
    write(out / "a" / ".hidden" / "deep.txt")
    (out / "link").symlink_to("../victim")
    (out / "empty").mkdir()
    write(out.parent / "victim" / "one.csv")
    mine = {"notes.txt": "mine", "a/.hidden/deep.txt": "mine", "empty": None}
    return mine | {"link": Path("../victim")}


def test_replaced(out):
    """Nothing of the earlier results is left, nor beside the new ones; these say what made them."""
    out.chmod(0o750)
    make(out, "b/three.csv")
    assert look(out) == {INDEX: "new", "b/three.csv": "new"}
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert out.stat().st_mode & 0o777 == 0o750
    marker = read_marker(out)
    assert (marker.command, marker.pid, {*marker.files}) == (
        "toy", os.getpid(), {INDEX, "b/three.csv"},
    )  # fmt: skip


@pytest.mark.parametrize("lacks", ["nothing", "exchange", "links"])
def test_what_others_have(out, monkeypatch, lacks):
    """Their files, links and folders stay where they are, also on poorer file systems."""
    mine = add_others(out)
    if lacks == "exchange":
        monkeypatch.setattr(attn.files.exchange, "_exchange", lambda item, other: False)
    if lacks == "links":
        monkeypatch.setattr(os, "link", lambda *_, **__: fail(errno.EPERM))
    inode = (out / "notes.txt").stat().st_ino
    make(out, "b/three.csv")
    assert look(out) == {INDEX: "new", "b/three.csv": "new"} | mine
    assert ((out / "notes.txt").stat().st_ino == inode) == (lacks != "links")
    assert look(out.parent / "victim") == {"one.csv": "mine"}
    assert {path.name for path in out.parent.iterdir()} == {"out", "victim"}


def rename_near(path, goal):
    """Rename as where a trace is on another disk than its collection."""
    if path.name == "part":
        fail(errno.EXDEV)
    path.replace(goal)


@pytest.mark.parametrize("meanwhile", ["nothing", "other results", "another disk", "an error"])
def test_parts(tmp_path, monkeypatch, meanwhile):
    """Results of one of many traces are put in place at once, over what came there meanwhile."""
    goal, mine = tmp_path / "0007" / "out", {}
    with replaced(tmp_path / "all", "toy", INDEX) as whole:
        if meanwhile == "an error":
            with pytest.raises(RuntimeError), replaced(goal, "toy", INDEX, whole=whole) as built:
                write(built / "half.csv")
                raise RuntimeError
        if meanwhile == "another disk":
            monkeypatch.setattr(Path, "rename", rename_near)
        with replaced(goal, "toy", INDEX, whole=whole) as built:
            write(built / INDEX, "new")
            if meanwhile == "other results":
                make(goal, "two.csv")
                mine = add_others(goal)
        monkeypatch.undo()
        assert look(goal) == {INDEX: "new"} | mine
        assert not [*goal.parent.glob(".attn-*")]
        assert sorted(path.name for path in whole.parent.iterdir()) == [MARKER, "new"]
    assert is_marked(goal)


def fail(number):
    """Fail as the operating system does."""
    raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("name", ["a/one.csv", "b", "a"])
def test_clash(out, name):
    """What others have, or changed, is never replaced by a result of the same name."""
    if name == "a":
        (out / "a/one.csv").unlink()
        (out / "a").rmdir()
    write(out / name)
    before = look(out)
    with pytest.raises(AnalysisError, match=f"out/{name} is in the way: .* move it away"):
        make(out, "a/one.csv", "b/three.csv")
    assert look(out) == before
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_forged_marker(tmp_path):
    """A list of files is believed only of files that are as it says."""
    out = tmp_path / "out"
    out.mkdir()
    mine = add_others(out)
    lies = dict.fromkeys([*mine, "../victim/one.csv", "link/one.csv"], "0" * 64)
    write_marker(out, command="toy", files=lies | {"link": "None", "empty": ""})
    make(out)
    assert look(out) == {INDEX: "new"} | mine
    assert look(tmp_path / "victim") == {"one.csv": "mine"}


@pytest.mark.parametrize(
    ("name", "text"), [("thesis.txt", "x"), (INDEX, "{}"), (INDEX, "["), (MARKER, "{}")]
)
def test_what_is_no_result(tmp_path, name, text):
    """A folder that attn did not make is not replaced, whatever is called like an index in it."""
    write(tmp_path / "out" / name, text)
    with pytest.raises(AnalysisError, match="out is no folder of results of `attn toy`, and not"):
        make(tmp_path / "out")
    assert (tmp_path / "out" / name).read_text() == text


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "circle"])
def test_an_index_that_is_no_file(tmp_path, kind):
    """Nothing waits for, or reads without end, what is called like the index of results."""
    (tmp_path / "out").mkdir()
    special(tmp_path / "out" / INDEX, kind)
    with pytest.raises(AnalysisError, match="out is no folder of results of `attn toy`, and not"):
        make(tmp_path / "out")


def test_results_of_another_command(out):
    """Commands do not replace each other's results."""
    with (
        pytest.raises(AnalysisError, match="holds results of `attn toy`: it is not replaced"),
        replaced(out, "other", INDEX),
    ):
        pass
    assert look(out)["two.csv"] == "old"


def test_results_without_a_marker(tmp_path):
    """What an earlier attn wrote, which cannot be told from files of others, is kept as a whole."""
    out, told = tmp_path / "out", []
    for number in (1, 2):
        write(out / INDEX, json.dumps({"schema": 1, "number": number}))
        write(out / "notes.txt")
        make(out, note=told.append)
        (out / MARKER).unlink()
    assert look(out) == {INDEX: "new"}
    kept = [tmp_path / f"out-earlier-{number}" for number in (1, 2)]
    assert [json.loads(look(item)[INDEX])["number"] for item in kept] == [1, 2]
    assert told[1].endswith(f"did not mark its files: see {kept[1]}")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_failure(out, error):
    """If making results fails, the earlier ones stay, and nothing else."""
    before = look(out)
    with pytest.raises((TraceError, KeyboardInterrupt)), replaced(out, "toy", INDEX) as built:
        write(built / "half.csv")
        raise error
    assert look(out) == before
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("has_exchange", [True, False])
def test_failure_of_a_rename(out, monkeypatch, has_exchange):
    """If results cannot be put in place, the earlier ones are there, with what others have."""
    mine, before = add_others(out), look(out)
    rename, calls = Path.rename, []

    def broken(path, goal):
        calls.append(path)
        return fail(errno.EIO) if path.name in ("new", "whole") else rename(path, goal)

    if not has_exchange:
        monkeypatch.setattr(attn.files.exchange, "_exchange", lambda item, other: False)
    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(TraceError, match=r"could not write .*out"):
        make(out)
    assert calls
    assert look(out) == before
    assert mine.items() <= before.items()


def leave(folder, goal="out", **parts):
    """Leave what a killed run leaves: its temporary folder with these results in it."""
    index = folder / SCRATCH
    for part, text in parts.items():
        make(index / part, "a/one.csv", text=text)
        for name in ("notes.txt", "late.txt"):
            write(index / part / name)
    index.mkdir(parents=True, exist_ok=True)
    write_marker(index, goal=goal)
    return index


def test_killed_between_two_renames(tmp_path):
    """Earlier results that were taken away come back, with what others have in them."""
    index = leave(tmp_path, earlier="old", whole="new")
    sweep(tmp_path)
    assert look(tmp_path / "out")["a/one.csv"] == "old"
    assert look(tmp_path / "out")["notes.txt"] == "mine"
    assert not index.exists()


@pytest.mark.parametrize("part", ["whole", "earlier"])
def test_killed_after_the_exchange(out, part):
    """What is not in place any more is removed; what others wrote into it meanwhile is not lost."""
    write(out / "notes.txt")
    index = leave(out.parent, **{part: "older"})
    before = look(out)
    sweep(out.parent)
    assert look(out) == before | {"late.txt": "mine"}
    assert not index.exists()


def test_killed_while_discarding(out):
    """Folders of ours that are empty by then are not taken for those of others."""
    index = leave(out.parent, whole="older")
    (index / "whole/b").mkdir()
    sweep(out.parent)
    assert not index.exists()
    assert not (out / "b").exists()


@pytest.mark.parametrize("marker", [None, "", "whole"])
def test_killed_while_building(tmp_path, marker):
    """What was being built is removed, also if the kill came before the folder was marked."""
    (tmp_path / SCRATCH).mkdir()
    if marker == "whole":
        index = leave(tmp_path)
        write(index / "new" / "half.csv")
        write(index / "part" / "half.csv")
    elif marker is not None:
        write(tmp_path / SCRATCH / MARKER, marker)
    make(tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_what_looks_like_temporary_folders(tmp_path):
    """Folders of others stay, whatever they are called and whatever is in them."""
    for name in (".out-mine", ".results-mine", ".attn-scratch-mine", ".attn-scratch-mine0000"):
        for part in ("old", "new", "whole", "earlier"):
            write(tmp_path / name / part / "thesis.txt")
    write_marker(tmp_path / ".results-mine", goal="out")
    write_marker(tmp_path / ".attn-scratch-mine", goal="out")
    write(tmp_path / "elsewhere" / "new" / "thesis.txt")
    write_marker(tmp_path / "elsewhere", goal="out")
    (tmp_path / SCRATCH).symlink_to("elsewhere")
    before = look(tmp_path)
    make(tmp_path / "out")
    assert look(tmp_path) == before | {f"out/{INDEX}": "new"}


@pytest.mark.parametrize("part", ["new", "part", "whole", "earlier"])
@pytest.mark.parametrize("is_there", [True, False])
def test_links_in_temporary_folders(tmp_path, part, is_there):
    """Whatever links are in what looks like ours, nothing is taken or removed where they lead."""
    write(tmp_path / "victim" / "thesis.txt")
    index = leave(tmp_path / "in")
    (index / part).symlink_to("../../victim")
    if is_there:
        make(tmp_path / "in" / "out")
        (tmp_path / "in" / "out" / "a").symlink_to("../../victim")
        leave(tmp_path / "in", **{({"new", "whole"} - {part}).pop(): "older"})
    sweep(tmp_path / "in")
    assert look(tmp_path / "victim") == {"thesis.txt": "mine"}
    assert not (tmp_path / "in" / "out" / "thesis.txt").exists()


@pytest.mark.parametrize("goal", ["../out", "/", "..", "a/b"])
def test_a_marker_that_leads_elsewhere(tmp_path, goal):
    """A temporary folder is for something beside it, or not ours."""
    index = leave(tmp_path / "in", goal, whole="new")
    sweep(tmp_path / "in")
    assert look(index / "whole")["a/one.csv"] == "new"


def test_a_run_that_lives_is_left_alone(tmp_path):
    """What another process is building is not taken away."""
    index = leave(tmp_path, whole="new")
    handle = os.open(index, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    make(tmp_path / "other")
    assert index.exists()
    os.close(handle)
    sweep(tmp_path)
    assert not index.exists()


def test_swept_before_it_was_locked(tmp_path, monkeypatch):
    """A run whose folder another one took for debris makes itself another."""
    lock, taken = fcntl.flock, []

    def late(handle, how):
        if not taken:
            taken.append(next(tmp_path.glob(".attn-scratch-*")))
            taken[0].rmdir()
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with scratch(tmp_path / "out") as built:
        assert built.parent != taken[0]


def test_withdraw(out):
    """Results can be taken away; what others have stays, and is no obstacle later."""
    withdraw(out, "toy", INDEX)
    assert not out.exists()
    make(out, "two.csv")
    mine = add_others(out)
    withdraw(out, "toy", INDEX)
    assert look(out) == mine
    assert is_marked(out)
    make(out)
    assert look(out) == {INDEX: "new"} | mine


@pytest.mark.parametrize("name", ["x" * 300, "loop", "loop/x", "file/x", "a\0b"])
def test_names_that_cannot_be(tmp_path, name):
    """Where no folder can be is an error that says so, before anything is computed."""
    (tmp_path / "loop").symlink_to("loop")
    write(tmp_path / "file")
    for put in (make, lambda folder: refuse_others(folder, "toy", INDEX)):
        with pytest.raises((TraceError, AnalysisError), match=r"could not (find|write|read) .*"):
            put(tmp_path / name)


def test_a_working_folder_that_is_gone(tmp_path, monkeypatch):
    """A relative name in a folder that was deleted is an error that says so."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(TraceError, match="could not find out: the file or its folder does not"):
        make(Path("out"))
