"""What all pages of a server share: the runs, the model's process, what can be chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from attn.backends import find
from attn.backends.plugins.registry import takers
from attn.errors import CaptureError, TraceError
from attn.explorer.listing.items import Item
from attn.explorer.listing.library import Library
from attn.studio.child import Child
from attn.studio.choices import Choices, make_choices
from attn.studio.command import as_command
from attn.studio.jobs import RunQueue, StudioRun
from attn.studio.options import StudioOptions
from attn.studio.telling import tell_plan, tell_refusal
from attn.studio.uploads import Uploads
from attn.verbs.capture.drawings import drawings_folder
from attn.verbs.capture.folders import choose_folder, contents, refuse_parts
from attn.verbs.view import find_traces

BUSY = "The plan follows when the run, or its analysis, is over."


class Studio:
    """The runs of a server, and who does them.

    Attributes:
        out: folder of the runs.
        library: all traces in it.
        choices: models and LoRAs by name.
        families: facts of every family, the first page's first.
        broken: families that cannot be loaded, each with the reason.
        uploads: pictures that were sent.
        jobs: the runs.
    """

    def __init__(self, options: StudioOptions, *, is_hosted: bool = False) -> None:
        """Look into the folders, and load the families in a process of their own.

        Args:
            options: of the server.
            is_hosted: whether strangers look, who are told no paths of this machine.

        Raises:
            AttnError: a folder is not what it is to be, or the first family cannot be loaded.
        """
        self.out, self._is_hosted = Path(options.out), is_hosted
        refuse_parts(self.out)
        first = _first_family(options.backend)
        self.choices: Choices = make_choices(options, first)
        self.library = _library(self.out)
        self._child = Child(self.reword)
        self._paces: dict[tuple[str, ...], float] = {}
        self.families, self.broken = self._load(first)
        self.uploads = Uploads(Path(mkdtemp(prefix="attn-studio-")))
        self.jobs = RunQueue(self._child, self.out, self._finished)

    @property
    def worker(self) -> int | None:
        """The process that holds the model."""
        return self._child.pid

    def item(self, job: StudioRun) -> Item | None:
        """Return the trace of a run, once there is one."""
        if job.folder is None or not job.done:
            return None
        return self.library.add(job.folder)

    def reword(self, text: str) -> str:
        """Return a text in which files are called as the page calls them."""
        text = self.choices.with_names(text).replace(f"{drawings_folder()}/", "")
        return text.replace(f"{self.out}/", f"{self.out.name}/") if self._is_hosted else text

    @property
    def hide(self) -> Callable[[str], str] | None:
        """What takes paths out of all that is told, where strangers look."""
        return self.reword if self._is_hosted else None

    def command(self, job: StudioRun) -> str:
        """Return the command that makes the same as a run, in a new folder."""
        command = as_command(job.request)
        return command if self.hide is None else self.hide(command)

    def plan(self, request: Mapping[str, Any]) -> Iterator[str]:
        """Yield what a request would keep, or what is wrong with it; before that, a wait if any."""
        folder = choose_folder(None, request["backend"], request["prompt"], self.out)
        order = {"do": "plan", "request": {**request, "out": str(folder)}}
        answer = self._child.ask_soon(order)
        if answer is None:
            yield BUSY
            answer = self._child.ask(order)
        if answer.event == "done":
            yield tell_plan(answer.facts, self._paces.get(_like(request)))
        else:
            yield tell_refusal(answer.facts.get("error"))

    def defaults(self, backend: str, model: str) -> Mapping[str, Any]:
        """Return what a model takes for what is left open; empty where that cannot be said now."""
        answer = self._child.ask_soon({"do": "defaults", "backend": backend, "model": model})
        return answer.facts["defaults"] if answer and answer.event == "done" else {}

    def values_after(
        self, backend: str, before: str, model: str, values: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """Return what fields hold once another model is chosen; None where that cannot be said now.

        See `attn.studio.worker.families.values_after`.
        """
        order = {"backend": backend, "before": before, "model": model, "values": dict(values)}
        answer = self._child.ask_soon({"do": "switch", **order})
        return answer.facts["values"] if answer and answer.event == "done" else None

    def close(self) -> None:
        """End what runs, and take away what was sent."""
        self.jobs.close()
        rmtree(self.uploads.folder, ignore_errors=True)

    def _finished(self, job: StudioRun) -> None:
        self.item(job)
        if job.pace is not None:
            self._paces[_like(job.request)] = job.pace

    def _load(self, name: str) -> tuple[list[dict[str, Any]], Mapping[str, str]]:
        models = dict.fromkeys([name], *self.choices.first.values()) if self.choices.first else {}
        answer = self._child.ask({"do": "describe", "models": models})
        listed: Sequence[dict[str, Any]] = answer.required()["families"]
        broken = {facts["name"]: facts["error"] for facts in listed if facts["error"]}
        usable = [facts for facts in listed if not facts["error"]]
        if name in broken:
            self._child.stop()
            raise CaptureError(f"backend '{name}' cannot be used: {broken[name]}")
        return sorted(usable, key=lambda facts: bool(facts["name"] != name)), broken


def _first_family(backend: str | None) -> str:
    """Return the name of the first page's family: one that reads drawings, if none is named."""
    registered = takers("drawings")[0] if backend is None else find(backend)
    return registered.spec.name


def _like(request: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what runs have in common that take about as long a step."""
    return tuple(
        repr(request.get(name)) for name in ("backend", "model", "size", "images", "keep", "device")
    )


def _library(out: Path) -> Library:
    """Return all traces of a folder, which may be new or hold none yet."""
    contents(out)  # refuses what is no folder
    try:
        library = find_traces([out])
    except TraceError:
        return Library(iter(()))
    library.items  # noqa: B018 - looked for now, before runs come into the folder
    return library
