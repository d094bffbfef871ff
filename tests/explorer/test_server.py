"""The server of the page: who is let in, and what is given out."""

import gzip
import http.client
import json
import pathlib
import re
import socket
from dataclasses import replace

import anyio
import pytest

from attn.errors import TraceError, UsageError
from attn.explorer.listing.library import open_library
from attn.explorer.server import Server
from attn.schema import SCHEMA
from tests.helpers.browsing.pages import eventually
from tests.helpers.toy_traces import manifest, write_trace


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trace; beside it a secret, and in it a link to that, which the manifest lists."""
    root = tmp_path_factory.mktemp("served")
    (root / "secret.txt").write_text("secret")
    trace = write_trace(root / "t", manifest(samples=1))
    (trace / "private.txt").write_text("not listed")
    (trace / "outputs" / "image-0.png").unlink()
    (trace / "outputs" / "image-0.png").symlink_to(root / "secret.txt")
    return trace


@pytest.fixture(scope="module")
def server(folder):
    """A server of that trace."""
    made = Server(open_library([folder]))
    made.start()
    yield made
    made.stop()


def ask(server, path, *, method="GET", **headers):
    """Return status, headers and body of an answer; the path is sent as it stands."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    accepts = "Accept-Encoding" in names
    connection.putrequest(method, path, skip_host="Host" in names, skip_accept_encoding=accepts)
    for name, value in names.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    result = answer.status, {key.lower(): item for key, item in answer.getheaders()}, answer.read()
    connection.close()
    return result


def cookie(server):
    """Return the header of a browser that opened the printed address."""
    return {"Cookie": f"attn_{server.port}={server.url.partition('token=')[2]}"}


SHARD = "/t/0/attention/step-0000.safetensors"
REFUSED = {
    "foreign host": (421, "/", {"Host": "evil.example"}),
    "rebound host": (421, SHARD, {"Host": "127.0.0.1.evil.example:7860"}),
    "host behind a port": (421, SHARD, {"Host": "127.0.0.1:7871.evil.example"}),
    "host behind a name": (421, SHARD, {"Host": "evil.example@127.0.0.1"}),
    "host before a path": (421, SHARD, {"Host": "127.0.0.1/evil.example"}),
    "host without a port": (421, SHARD, {"Host": "127.0.0.1:"}),
    "half a bracket": (421, SHARD, {"Host": "[::1"}),
    "no host": (421, "/", {"Host": ""}),
    "foreign origin": (403, SHARD, {"Origin": "http://evil.example"}),
    "origin of a file": (403, SHARD, {"Origin": "null"}),
    "origin of another port": (403, SHARD, {"Origin": "http://127.0.0.1:1"}),
    "cross-site": (403, SHARD, {"Sec_Fetch_Site": "cross-site"}),
    "same-site": (403, SHARD, {"Sec_Fetch_Site": "same-site"}),
    "no cookie": (401, SHARD, {"Cookie": ""}),
    "wrong token": (401, SHARD, {"Cookie": "attn_{port}=wrong"}),
    "broken cookie": (401, SHARD, {"Cookie": "attn_{port}=\xe9; ;;="}),
    "wrong token in the address": (401, "/?token=wrong", {"Cookie": ""}),
    "token elsewhere": (401, "/index.json?token={token}", {"Cookie": ""}),
    "traversal": (404, "/t/0/../../secret.txt", {}),
    "encoded dots": (404, "/t/0/%2e%2e/secret.txt", {}),
    "encoded slash": (404, "/t/0/..%2fsecret.txt", {}),
    "backslash": (404, "/t/0/..%5csecret.txt", {}),
    "traversal of modules": (404, "/static/../server.py", {}),
    "encoded traversal of modules": (404, "/static/%2e%2e/server.py", {}),
    "absolute": (404, "/t/0//etc/passwd", {}),
    "null byte": (404, "/t/0/trace.json%00.png", {}),
    "long name": (404, "/t/0/" + "a" * 4000, {}),
    "longer name": (414, "/t/0/" + "a" * 5000, {}),
    "more digits than a number has": (414, "/index/" + "9" * 5000 + ".json", {}),
    "not listed": (404, "/t/0/private.txt", {}),
    "journal": (404, "/t/0/attention/shards.jsonl", {}),
    "link to the outside": (404, "/t/0/outputs/image-0.png", {}),
    "small picture of a link to the outside": (404, "/t/0/thumb", {}),
    "small picture of another number": (404, "/t/1/thumb", {}),
    "other number": (404, "/t/1/trace.json", {}),
    "negative number": (404, "/t/-1/trace.json", {}),
    "huge number": (404, "/t/" + "9" * 4000 + "/trace.json", {}),
    "digit of another script": (404, "/t/%D9%A0/trace.json", {}),
    "range behind the end": (416, SHARD, {"Range": "bytes=99999999-"}),
    "range that is none": (400, SHARD, {"Range": "lines=1-2"}),
    "writing": (405, SHARD, {"method": "POST"}),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, server):
    """What does not come from the opened page, or asks for what was not opened, gets nothing."""
    status, path, headers = REFUSED[name]
    token = server.url.partition("token=")[2]
    headers = {key: header.replace("{port}", str(server.port)) for key, header in headers.items()}
    got, _, body = ask(server, path.replace("{token}", token), **cookie(server) | headers)
    assert got == status
    assert b"secret" not in body
    assert b"not listed" not in body


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost:7861"},
        {"Host": "[::1]:1"},
        {"Host": "127.0.0.1:9", "Origin": "http://127.0.0.1:9"},
        {"Sec_Fetch_Site": "same-origin"},
    ],
)
def test_allowed(headers, server, folder):
    """The opened page reads ranges, also through a tunnel that has another port."""
    status, answered, body = ask(server, SHARD, Range="bytes=8-40", **cookie(server) | headers)
    whole = (folder / "attention/step-0000.safetensors").read_bytes()
    assert (status, body) == (206, whole[8:41])
    assert answered["content-range"] == f"bytes 8-40/{len(whole)}"


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("token", [None, "wrong"])
def test_token_becomes_a_cookie(token, is_known, server):
    """The token goes out of the address at once, into a cookie that no script and no site has.

    So does any token where the cookie is there already.
    """
    path = server.url.partition(str(server.port))[2] if token is None else f"/?token={token}"
    status, headers, _ = ask(server, path, **(cookie(server) if is_known else {}))
    if token is not None and not is_known:
        assert status == 401
        return
    assert (status, headers["location"]) == (303, "/")
    assert re.fullmatch(
        rf"attn_{server.port}=\S+; HttpOnly; Path=/; SameSite=strict", headers["set-cookie"]
    )


def test_code_is_small(server):
    """All of the page's code, as a browser gets it, is less than 150 KB."""
    from attn.explorer.joined import ENTRY, STATIC, WORKER, join_script

    joined = {name: join_script(name).encode() for name in (ENTRY, WORKER)}
    sizes = {}
    for path in STATIC.rglob("*"):
        if path.suffix not in (".js", ".css", ".html"):
            continue
        name = path.relative_to(STATIC).as_posix()
        answer = ask(server, f"/static/{name}", Accept_Encoding="gzip", **cookie(server))
        status, headers, body = answer
        assert (status, headers["content-encoding"]) == (200, "gzip")
        assert gzip.decompress(body) == joined.get(name, path.read_bytes())
        if name in joined or path.suffix != ".js":
            sizes[name] = len(body)
    assert set(joined) < set(sizes)
    assert sum(sizes.values()) < 150_000


def test_headers(server):
    """Every answer, a refusal too, forbids all but the page's own files."""
    for path, status in (("/", 200), ("/none", 404), ("/?token=x", 401)):
        headers = {} if status == 401 else cookie(server)
        got, answered, _ = ask(server, path, **headers)
        assert got == status
        assert answered["content-security-policy"].startswith(
            "default-src 'none'; script-src 'self'"
        )
        assert "frame-ancestors 'none'" in answered["content-security-policy"]
        assert answered["x-content-type-options"] == "nosniff"
        assert answered["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in answered


def test_no_file_acts_as_a_page(tmp_path):
    """An output that calls itself HTML or a script is handed out as bytes."""
    about = manifest(samples=1)
    trace = write_trace(tmp_path / "t", about)
    manifest_file = json.loads((trace / "trace.json").read_text())
    names = ["outputs/a.html", "outputs/a.svg", "outputs/a.mjs"]
    manifest_file |= {"outputs": names}
    del manifest_file["sha256"]
    (trace / "trace.json").write_text(json.dumps(manifest_file))
    for name in names:
        (trace / name).write_text("<script>alert(1)</script>")
    server = Server(open_library([trace]))
    server.start()
    kinds = {ask(server, f"/t/0/{name}", **cookie(server))[1]["content-type"] for name in names}
    server.stop()
    assert kinds == {"application/octet-stream"}


@pytest.mark.parametrize("is_damaged", [False, True], ids=["whole", "image changed"])
def test_checked(tmp_path, is_damaged):
    """Digests are checked in the background, those of images too, and what is damaged is named."""
    trace = write_trace(tmp_path / "t", manifest(samples=1))
    if is_damaged:
        image = trace / "outputs" / "image-0.png"
        image.write_bytes(image.read_bytes()[:-1] + b"?")
    server = Server(open_library([trace]))
    server.start()

    def read():
        found = json.loads(ask(server, "/t/0/checked", **cookie(server))[2])
        assert found.pop("version")
        return found | {"damaged": [text.split()[0] for text in found["damaged"]]}

    named = [f"{trace}/outputs/image-0.png"] if is_damaged else []
    eventually(read, {"files": 4, "checked": 4, "damaged": named})
    server.stop()


def test_damaged_trace(tmp_path):
    """A manifest that cannot be believed is told to the page, not shown."""
    trace = write_trace(tmp_path / "t", manifest(samples=1))
    server = Server(open_library([trace]))
    server.start()
    text = (trace / "trace.json").read_text().replace('"schema": 1', '"schema": 7')
    (trace / "trace.json").write_text(re.sub(r',\s*"sha256": "[0-9a-f]{64}"\s*}\s*$', "}", text))
    status, _, body = ask(server, "/t/0/trace.json", **cookie(server))
    server.stop()
    assert (status, json.loads(body)) == (
        422,
        {
            "error": f"{trace}/trace.json has schema 7, this attn reads up to schema {SCHEMA}: "
            "update attn"
        },
    )


def test_vanished_folder(tmp_path):
    """A folder that is gone is said to be gone; the server lives on."""
    trace = write_trace(tmp_path / "t", manifest(samples=1))
    server = Server(open_library([trace]))
    server.start()
    pathlib.Path(trace).rename(tmp_path / "elsewhere")
    gone = ask(server, "/t/0/trace.json", **cookie(server))
    shard = ask(server, SHARD, **cookie(server))
    index = ask(server, "/index.json", **cookie(server))
    server.stop()
    assert (gone[0], shard[0], index[0]) == (422, 404, 200)
    assert "does not exist" in json.loads(gone[2])["error"]


def test_rewritten_while_it_is_sent(tmp_path, monkeypatch):
    """A file that another takes the place of after it was opened is sent to its end, as it was."""
    trace = write_trace(tmp_path / "t", manifest(samples=1))
    shard = trace / "attention/step-0000.safetensors"
    old, open_file = shard.read_bytes(), anyio.open_file

    async def open_late(path, mode):
        (tmp_path / "new").write_bytes(b"new")
        (tmp_path / "new").replace(shard)
        return await open_file(path, mode=mode)

    monkeypatch.setattr("anyio.open_file", open_late)
    server = Server(open_library([trace]))
    server.start()
    _, _, body = ask(server, SHARD, **cookie(server))
    server.stop()
    assert shard.read_bytes() == b"new"
    assert body == old


def test_partial_trace(tmp_path):
    """Of a capture that runs, the page gets the steps that are finished, and no others."""
    trace = write_trace(tmp_path / "t", manifest(samples=1), partial=True, done=2)
    server = Server(open_library([trace]))
    server.start()
    facts = json.loads(ask(server, "/t/0/trace.json", **cookie(server))[2])["manifest"]
    server.stop()
    assert facts["status"] == "partial"
    assert [fact["step"]["index"] for fact in facts["shards"]] == [0, 1]


def test_port_in_use(folder, monkeypatch):
    """A port that is taken is an error that says what to do; without --port the next is tried."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen at port {port} of 127.0.0.1: "):
            Server(open_library([folder]), port=port)
        monkeypatch.setattr("attn.explorer.server.FIRST_PORT", port)
        next_free = Server(open_library([folder]))
    next_free.stop()
    assert next_free.port > port


def test_address_of_another_machine(folder):
    """An address that this machine does not have is said to be that, not a matter of ports."""
    with pytest.raises(UsageError, match=r"^192\.0\.2\.7 is no address of this machine: .*--host"):
        Server(open_library([folder]), host="192.0.2.7", hosts=["box"])


def test_browser_that_is_closed(tmp_path, capfd):
    """A browser that goes away in the middle of a file leaves a server that answers the next."""
    trace = write_trace(tmp_path / "t", manifest(samples=1), picture=(1900, 1300))
    server = Server(open_library([trace]))
    server.start()
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port)) as leaving:
            lines = ["GET /t/0/outputs/image-0.png HTTP/1.1", "Host: localhost"]
            lines.append(f"Cookie: {cookie(server)['Cookie']}")
            leaving.sendall("\r\n".join([*lines, "", ""]).encode())
            assert leaving.recv(100).startswith(b"HTTP/1.1 200")
    status, _, body = ask(server, "/t/0/outputs/image-0.png", **cookie(server))
    server.stop()
    assert (status, body) == (200, (trace / "outputs/image-0.png").read_bytes())
    assert len(body) > 2**22
    assert capfd.readouterr().err == ""


def test_other_machines_need_a_name(folder):
    """--host alone would let any name in; it needs --allow-host."""
    with pytest.raises(
        UsageError, match=r"--host 0\.0\.0\.0 lets other machines in: .*--allow-host"
    ):
        Server(open_library([folder]), host="0.0.0.0")
    server = Server(open_library([folder]), host="0.0.0.0", hosts=["Box.example"])
    server.start()
    status, _, _ = ask(server, SHARD, Host="box.example:80", **cookie(server))
    server.stop()
    assert status == 200
    assert server.url.startswith(f"http://Box.example:{server.port}/?token=")


def test_a_name_that_is_none(folder):
    """A path with a null character is an error like any other that does not exist."""
    with pytest.raises(TraceError, match="does not exist"):
        open_library([folder / "a\0b"])


def test_nothing_to_show(tmp_path):
    """A path without a trace is an error that says how to make one."""
    with pytest.raises(TraceError, match=f"{tmp_path} holds no trace; make one with attn capture"):
        open_library([tmp_path])


def test_folder_of_traces(tmp_path):
    """Traces in a folder are listed by their names, each once, also below collections."""
    for name in ("b/0000", "a", ".hidden"):
        about = manifest(samples=1)
        write_trace(tmp_path / name, replace(about, backend=name))
    paths = ([tmp_path], [tmp_path / "b", tmp_path / "a", tmp_path / "b/0000"], [tmp_path / "b"])
    labels = [[item.label for item in open_library(each).items] for each in paths]
    assert labels == [["a", "b/0000"], ["b/0000", "a"], ["0000"]]
