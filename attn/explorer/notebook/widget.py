"""The page as a widget of a notebook: it reads all of the traces, piece by piece, by the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from attn.errors import AttnError, UsageError
from attn.explorer.joined import STATIC
from attn.explorer.listing.library import Library
from attn.explorer.opened import file_of
from attn.explorer.page import make_asking_page
from attn.files.disk import reported
from attn.files.outside import open_regular

if TYPE_CHECKING:
    from ipywidgets import DOMWidget

MODULE = "notebook/widget.js"
"""The module that a notebook runs: it passes questions of the page to the kernel."""
LARGEST = 2**28
"""Bytes of one answer."""


class RangeQuestion(msgspec.Struct):
    """What a page in a notebook asks for: bytes of a file of a trace.

    Attributes:
        id: that its answer has.
        name: of the file, with the address of its trace: `t/NUMBER/NAME`.
        start: of the bytes.
        stop: of the bytes.
    """

    id: str
    name: str
    start: int
    stop: int


def make_widget(library: Library) -> DOMWidget:
    """Return a widget that shows traces.

    Raises:
        TraceError: none of the traces can be read.
        UsageError: the package anywidget is missing.
    """
    try:
        from anywidget import AnyWidget
        from traitlets import Unicode
    except ImportError as error:
        raise UsageError(
            "a widget needs the package anywidget, which is not here: pip install 'attn[notebook]'"
        ) from error

    class TraceWidget(AnyWidget):  # type: ignore[misc,unused-ignore]
        _esm = (STATIC / MODULE).read_text("utf-8")
        page = Unicode().tag(sync=True)

    def reply(widget: TraceWidget, question: Any, buffers: Any) -> None:
        content, data = answer(library, question)
        widget.send(content, [data])

    widget = TraceWidget(page=make_asking_page(library))
    widget.on_msg(reply)
    return widget


def answer(library: Library, question: Any) -> tuple[dict[str, str], bytes]:
    """Return what a page in a notebook is told: the bytes that it asks for, or what is wrong."""
    try:
        asked = msgspec.convert(question, RangeQuestion)
    except msgspec.ValidationError as error:
        return {"error": f"no question of a page: {error}"}, b""
    try:
        return {"id": asked.id}, _read(library, asked)
    except AttnError as error:
        return {"id": asked.id, "error": str(error)}, b""


def _read(library: Library, question: RangeQuestion) -> bytes:
    _, number, name = (*question.name.split("/", 2), "", "")[:3]
    item = library.item(number)
    path = None if item is None else file_of(library.brought(item), name)
    if path is None:
        raise UsageError(f"{question.name} is not there any more")
    count = question.stop - question.start
    if question.start < 0 or not 0 <= count <= LARGEST:
        raise UsageError(f"bytes {question.start} to {question.stop} of {name} cannot be read")
    with reported(path, "read"), open_regular(path) as stream:
        stream.seek(question.start)
        return stream.read(count)
