"""Who is let into the studio, and what Gradio may be asked there."""

import http.client
import io
import json
import re
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
from PIL import Image

BOUNDARY = "cut-here"


def ask(server, path, *, method="GET", body=None, **headers):
    """Return status, headers and body of an answer; the path is sent as it stands."""
    at = urlsplit(server.url)
    connection = http.client.HTTPConnection("127.0.0.1", at.port, timeout=20)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.putrequest(method, path, skip_host="Host" in names)
    if body is not None:
        names.setdefault("Content-Length", str(len(body)))
    for name, value in names.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    result = answer.status, {key.lower(): item for key, item in answer.getheaders()}, answer.read()
    connection.close()
    return result


def cookie(server):
    """Return the header of a browser that opened the printed address."""
    at = urlsplit(server.url)
    return {"Cookie": f"attn_{at.port}={at.query.partition('token=')[2]}"}


def upload(server, data, name="drawing.png", **headers):
    """Send a file as the pad does."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    )
    body = head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
    kind = {"Content_Type": f"multipart/form-data; boundary={BOUNDARY}"}
    sent = cookie(server) | kind | headers
    return ask(server, "/gradio_api/upload", method="POST", body=body, **sent)


def picture(kind="PNG", size=(7, 5)):
    """Return a file with a picture."""
    data = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), 97, np.uint8)).save(data, kind)
    return data.getvalue()


ROUTES = (
    "/",
    "/config",
    "/theme.css",
    *(f"/studio/{name}.js" for name in ("pad", "files", "focus")),
    "/studio/forming/0/1",
    "/explorer/",
    "/explorer/index.json",
    "/explorer/t/0/attention/step-0000.safetensors",
    "/gradio_api/queue/data?session_hash=a",
    "/gradio_api/heartbeat/a",
    "/gradio_api/file=/etc/passwd",
    "/gradio_api/queue/join",
    "/gradio_api/run/predict",
    "/gradio_api/upload",
    "/gradio_api/component_server",
)
STRANGERS = {
    "foreign host": (421, {"Host": "evil.example"}),
    "rebound host": (421, {"Host": "127.0.0.1.evil.example:7860"}),
    "host behind a port": (421, {"Host": "127.0.0.1:7871.evil.example"}),
    "no host": (421, {"Host": ""}),
    "foreign origin": (403, {"Origin": "http://evil.example"}),
    "origin of a file": (403, {"Origin": "null"}),
    "origin of another port": (403, {"Origin": "http://127.0.0.1:1"}),
    "cross-site": (403, {"Sec_Fetch_Site": "cross-site"}),
    "same-site": (403, {"Sec_Fetch_Site": "same-site"}),
    "no cookie": (401, {"Cookie": ""}),
    "wrong token": (401, {"Cookie": "attn_{port}=wrong"}),
    "broken cookie": (401, {"Cookie": "attn_{port}=\xe9; ;;="}),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_strangers(stranger, toy_server):
    """Before each address, those of Gradio too, stands the guard."""
    status, headers = STRANGERS[stranger]
    port = str(urlsplit(toy_server.url).port)
    sent = cookie(toy_server) | {
        name: value.replace("{port}", port) for name, value in headers.items()
    }
    for route in ROUTES:
        for method in ("GET", "POST"):
            got, answered, body = ask(toy_server, route, method=method, body=b"", **sent)
            assert (route, method, got) == (route, method, status)
            assert b"root:" not in body
            assert answered["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_methods(method, toy_server):
    """Nothing but reading and sending forms is done."""
    for route in ROUTES:
        assert ask(toy_server, route, method=method, **cookie(toy_server))[0] == 405


NEEDED = {
    "/", "/config", "/config/", "/theme.css", "/favicon.ico",
    "/static/{path:path}", "/assets/{path:path}",
    "/gradio_api/file={path_or_url:path}", "/gradio_api/upload",
    "/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/heartbeat/{session_hash}",
    "/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/reset/", "/gradio_api/startup-events",
}  # fmt: skip
"""What the page asks of Gradio."""
ELSEWHERE = ("/docs", "/redoc", "/gradio_api/proxy=http://evil.example/", "/gradio_api/run/plan")


def test_absent(toy_server):
    """What Gradio has beyond the needs of the page is not there, whichever way it is asked."""
    listed = {path for _, path in toy_server.addresses}
    assert listed >= NEEDED
    assert len(listed - NEEDED) > 50
    for path in [*(listed - NEEDED), *ELSEWHERE]:
        for method in ("GET", "HEAD", "POST"):
            address = re.sub(r"{[^}]*}", "1", path)
            got = ask(toy_server, address, method=method, body=b"{}", **cookie(toy_server))
            assert (method, path, got[0]) == (method, path, 404)


def paths(server):
    """Return addresses that lead to files of others, where a path is taken at its word."""
    secret, runs = str(server.secret), server.runs
    uploads = server.uploads
    up = "../" * 12
    return [
        *(f"/gradio_api/file={path}" for path in ("/etc/passwd", secret, runs / "t/private.txt")),
        f"/gradio_api/file={quote(secret, safe='')}",
        f"/gradio_api/file={uploads}/{up}etc/passwd",
        f"/gradio_api/file={uploads}/..%2f..%2fetc%2fpasswd",
        f"/gradio_api/file={uploads}/x%00.png",
        f"/gradio_api/file={uploads}/{'a' * 3500}",
        "/gradio_api/file=http://evil.example/x.png",
        "/gradio_api/file=file:///etc/passwd",
        "/gradio_api/file=\\\\evil\\share",
        f"/gradio_api/file/{secret}",
        f"/static/{up}etc/passwd",
        f"/assets/{up}etc/passwd",
        "/static/%2e%2e/%2e%2e/index.html",
        "/assets/..%5cindex.html",
        f"/explorer/t/0/{up}secret.txt",
        "/explorer/t/0/%2e%2e/%2e%2e/secret.txt",
        "/explorer/t/0/private.txt",
        "/explorer/static/../server.py",
        "/studio/../secret.txt",
        "/studio/forming/-1/1",
        "/studio/forming/99999999999999999999/1",
    ]


def test_no_path_reaches_the_disk(toy_server):
    """No address leads to a file that was not handed out, however it is written."""
    (toy_server.uploads / "link.png").symlink_to(toy_server.secret)
    link = f"/gradio_api/file={toy_server.uploads}/link.png"
    for path in [*paths(toy_server), link]:
        status, _, body = ask(toy_server, path, **cookie(toy_server))
        assert (path, status) == (path, 404)
        assert b"secret" not in body
        assert b"root:" not in body


@pytest.mark.parametrize(
    "file",
    [
        {"path": "{secret}", "meta": {"_type": "gradio.FileData"}},
        {"path": "{secret}"},
        {"path": "/etc/passwd", "url": "http://evil.example/x.png"},
        {"path": "http://evil.example/x.png", "meta": {"_type": "gradio.FileData"}},
        {"path": ["/etc/passwd"]},
        {"path": None},
    ],
)
def test_files_of_a_form(file, toy_server):
    """A form names files that were sent here, wherever in it they stand."""
    text = json.dumps({"background": file, "layers": [{"x": [file]}], "composite": file})
    text = text.replace("{secret}", str(toy_server.secret))
    form = {"fn_index": 0, "data": [json.loads(text)], "session_hash": "a"}
    body = json.dumps(form).encode()
    sent = cookie(toy_server) | {"Content_Type": "application/json"}
    for name in ("queue/join", "queue/join/", "run/predict", "run/predict/", "cancel"):
        path = f"/gradio_api/{name}"
        assert ask(toy_server, path, method="POST", body=body, **sent)[0] == 403


@pytest.mark.parametrize(
    ("status", "body"),
    [(400, b""), (400, b"{"), (400, b"\xff"), (400, b"[" * 9999), (413, b" " * (2**20 + 1))],
)
def test_broken_forms(status, body, toy_server):
    """What is no form is refused, before Gradio sees it."""
    sent = cookie(toy_server) | {"Content_Type": "application/json"}
    got = ask(toy_server, "/gradio_api/queue/join", method="POST", body=body, **sent)
    assert got[0] == status


@pytest.fixture(scope="module")
def plan_form(toy_server):
    """Return the form that asks for a plan, and the kinds of its fields."""
    config = json.loads(ask(toy_server, "/config", **cookie(toy_server))[2])
    parts = {part["id"]: part for part in config["components"]}
    plan = next(act for act in config["dependencies"] if len(act["inputs"]) > 9)
    shown = [parts[number] for number in plan["inputs"]]
    values = [part["props"].get("value") for part in shown]
    form = {"fn_index": plan["id"], "data": values, "session_hash": "a"}
    return form, [part["type"] for part in shown]


def send_form(server, form):
    """Send a form beside the stream of events; return the status, and what is printed then."""
    before = len(server.log.read_text())
    sent = cookie(server) | {"Content_Type": "application/json"}
    body = json.dumps(form).encode()
    status, _, said = ask(server, "/gradio_api/run/predict", method="POST", body=body, **sent)
    return status, said.decode(), server.log.read_text()[before:]


@pytest.mark.parametrize("value", ["\x1b[2Jnone", {"a": 1}, [1], -5, True, float("inf")])
def test_values_of_a_form(value, plan_form, toy_server):
    """A value that no field can hold is refused, or told of; the terminal has one line of it."""
    form, kinds = plan_form
    statuses = {}
    for at, kind in enumerate(kinds):
        data = [*form["data"][:at], value, *form["data"][at + 1 :]]
        status, said, printed = send_form(toy_server, form | {"data": data})
        statuses.setdefault(kind, set()).add(status)
        assert status == 400 or "This cannot run: " in said
        assert printed.count("\n") == (status == 400)
        assert "Traceback" not in printed
        assert "\x1b" not in printed
    assert statuses["dropdown"] == {400}
    assert statuses["textbox"] == statuses["number"] == {200}


@pytest.mark.parametrize(
    "change", [{"fn_index": 9999}, {"fn_index": 0, "data": []}, {"fn_index": []}, {"data": []}]
)
def test_acts_of_a_form(change, plan_form, toy_server):
    """A form that names no act of the server, or lacks values, is refused."""
    status, _, printed = send_form(toy_server, plan_form[0] | change)
    assert (status, "Traceback" in printed) == (400, False)


def test_remarks_in_the_frame(toy_server):
    """A remark that a trace has stored names fields of the form in the studio's frame."""
    facts = json.loads(ask(toy_server, "/explorer/t/0/trace.json", **cookie(toy_server))[2])
    assert facts["manifest"]["warnings"] == [
        "dark strokes; 'Ground': light for the other way round"
    ]


NO_PICTURES = {
    "page": b"<script>alert(1)</script>",
    "vector": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "program": b"\x7fELF" + bytes(99),
    "nothing": b"",
    "half a picture": picture()[:45],
}


@pytest.mark.parametrize("name", NO_PICTURES)
def test_uploads_are_pictures(name, toy_server):
    """What is no picture is not kept, whatever it is called."""
    before = sorted(toy_server.uploads.iterdir())
    status, _, body = upload(toy_server, NO_PICTURES[name], "drawing.png")
    assert (status, body.startswith(b"That cannot be used")) == (415, True)
    assert sorted(toy_server.uploads.iterdir()) == before


@pytest.mark.parametrize("name", ["a.png", "../../evil.png", "/etc/evil", "x\0.html", "a" * 4000])
def test_names_of_uploads(name, toy_server):
    """A picture is written anew, under a name of its content, and given back as it was written."""
    status, _, body = upload(toy_server, picture("JPEG"), name)
    (path,) = json.loads(body)
    assert status == 200
    assert path.startswith(f"{toy_server.uploads}/sent-")
    status, headers, data = ask(toy_server, f"/gradio_api/file={path}", **cookie(toy_server))
    assert (status, headers["content-type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(data)).size == (7, 5)


def test_large_uploads(toy_server):
    """More than 8 MB are not read, and many pixels not decoded; one picture at a time."""
    assert upload(toy_server, bytes(8 * 2**20 + 2**17))[0] == 413
    assert upload(toy_server, picture(size=(4001, 4003)))[0] == 415


def test_pages(toy_server):
    """Gradio's page runs its own scripts alone, stands in no frame, and names no other host."""
    status, headers, body = ask(toy_server, "/", **cookie(toy_server))
    policy = headers["content-security-policy"]
    scripts = policy.partition("script-src ")[2].partition(";")[0]
    assert status == 200
    assert "'unsafe-inline'" not in scripts
    assert scripts.count("'sha256-") >= 3
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert b'"analytics_enabled":false' in body
    assert b"manifest.json" not in body
    explorer = ask(toy_server, "/explorer/", **cookie(toy_server))[1]
    assert "frame-ancestors 'self'" in explorer["content-security-policy"]
    assert "script-src 'self';" in explorer["content-security-policy"]
