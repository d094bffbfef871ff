"""What the page's buttons do: values of the form in, values of components out."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from attn.errors import AttnError
from attn.explorer.opened import manifest_of
from attn.schema import image_names
from attn.studio.command import as_command
from attn.studio.drawing import draw_shapes, pad_file
from attn.studio.form import Field, begin_request, empty_fields, label_of, make_request
from attn.studio.jobs import StudioRun
from attn.studio.parts import MOST_SEED, NONE
from attn.studio.studio import BUSY, Studio
from attn.studio.telling import tell_empty, tell_job, tell_refusal

FIGURES = (
    *("attention_evolution.gif", "text_vs_sketch_attention.png", "words.png", "roles.png"),
    *("unmasking.gif", "flow.png", "influence.png"),
)
"""What is shown of an analysis, by name; all of it is in the report."""
SKETCH = "sketch"
WITHOUT = {"lora": "without LoRAs", SKETCH: "without drawing"}
"""How a run is called that was made again, by what it has no more."""


class RunView(NamedTuple):
    """The components that show a run, or new values for them; `gr.skip()` leaves one as it is."""

    job: Any = gr.skip()
    progress: Any = gr.skip()
    forming: Any = gr.skip()
    text: Any = gr.skip()
    frame: Any = gr.skip()
    command: Any = gr.skip()
    run: Any = gr.skip()
    cancel: Any = gr.skip()
    analyze: Any = gr.skip()
    save_page: Any = gr.skip()
    again_lora: Any = gr.skip()
    again_sketch: Any = gr.skip()
    figures: Any = gr.skip()
    files: Any = gr.skip()


class Acts:
    """The acts of the page of one family."""

    def __init__(
        self, studio: Studio, backend: str, models: Mapping[str, str], fields: Sequence[Field]
    ) -> None:
        """Act for a page.

        Args:
            studio: what all pages share.
            backend: name of the family.
            models: paths by the names that the page offers.
            fields: of the form.
        """
        self._studio, self._backend = studio, backend
        self._models, self._fields = models, fields

    def plan(self, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield what a run would keep, or why there would be none."""
        try:
            request = self._request(values)
        except AttnError as error:
            yield tell_refusal(error)
            return
        for told in self._studio.plan(request):
            yield told if told == BUSY else "\n".join(filter(None, (told, self._empty(values))))

    def run(self, values: Mapping[str, Any], is_analyzed: bool) -> Iterator[RunView]:
        """Run what the form holds, and show it."""
        try:
            job = self._studio.jobs.submit(self._request(values), is_analyzed=is_analyzed)
        except AttnError as error:
            yield RunView(progress=tell_refusal(error))
            return
        yield from self._follow(job, ())

    def again(self, name: str) -> Callable[[int | None, bool], Iterator[RunView]]:
        """Return what runs a request once more without its LoRAs or its drawing."""

        def run(number: int | None, is_analyzed: bool) -> Iterator[RunView]:
            before = self._job(number)
            if before is None:
                return
            request = {key: value for key, value in before.request.items() if key != name}
            if name == SKETCH:
                request[SKETCH] = NONE
            variant = f"{before.variant} {WITHOUT[name]}".strip()
            try:
                job = self._studio.jobs.submit(request, is_analyzed=is_analyzed, variant=variant)
            except AttnError as error:
                yield RunView(progress=tell_refusal(error))
                return
            yield from self._follow(job, (before,))

        return run

    def ready(self, number: int | None) -> RunView:
        """Let runs begin again: Gradio takes no click while the last one is answered."""
        job = self._job(number)
        if job is not None and not job.is_over:  # another one was begun
            return RunView()
        request = job.request if job is not None and job.status == "complete" else None
        is_drawn = request is not None and request.get(SKETCH) != NONE
        return RunView(
            run=gr.update(interactive=True),
            analyze=gr.update(interactive=request is not None),
            save_page=gr.update(interactive=request is not None),
            again_lora=gr.update(interactive=request is not None and "lora" in request),
            again_sketch=gr.update(interactive=is_drawn),
        )

    def cancel(self, number: int | None) -> None:
        """End a run after its step."""
        job = self._job(number)
        if job is not None:
            self._studio.jobs.cancel(job)

    def analyze(self, number: int | None) -> Iterator[RunView]:
        """Analyse the trace of a run."""
        job = self._job(number)
        if job is None or job.folder is None:
            return
        yield RunView(progress="Analysing …")
        self._studio.analyze(job)
        yield RunView(progress=tell_job(job, 0), **_results(job))

    def save_page(self, number: int | None) -> Any:
        """Write the page of a run into one file, and offer it."""
        from attn.verbs.view import save_page
        from attn.verbs.view_options import ViewOptions

        job = self._job(number)
        if job is None or job.folder is None:
            return gr.skip()
        save_page([job.folder], ViewOptions(out=_page_path(job.folder)))
        return gr.update(value=_files(job.folder), visible=True)

    def index(self) -> str:
        """Return the gallery: the explorer's list of all runs."""
        return _explorer("index&sort=newest", len(self._studio.library.items))

    def draw(self, text: str) -> tuple[Any, Any]:
        """Put typed shapes onto the pad, or tell why not."""
        try:
            image = draw_shapes(text)
        except AttnError as error:
            return gr.skip(), gr.update(value=str(error), visible=True)
        held = {"background": image, "layers": [], "composite": image}
        return held, gr.update(value="", visible=False)

    def throw(self) -> int:
        """Return a seed."""
        return random.randint(0, MOST_SEED)

    def defaults(self, names: Sequence[str]) -> Callable[[str], list[Any]]:
        """Return what fills in the defaults of a model that was chosen."""

        def fill(name: str) -> list[Any]:
            if name not in self._models:
                return [gr.skip()] * len(names) if len(names) > 1 else gr.skip()
            known = self._studio.defaults(self._backend, self._models[name])
            values = [gr.skip() if known.get(name) is None else known[name] for name in names]
            return values if len(values) > 1 else values[0]

        return fill

    def _job(self, number: int | None) -> StudioRun | None:
        return None if number is None else self._studio.jobs.job(number)

    def _request(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request of the form.

        Raises:
            AttnError: something in it cannot be meant.
        """
        request = {"backend": self._backend}
        request |= begin_request(values, self._models, self._studio.choices.all_loras)
        sketch = pad_file(values.get("pad"))
        if sketch is None and values.get("empty") == NONE:
            sketch = NONE
        request |= {SKETCH: sketch} if sketch else {}
        return request | make_request(self._fields, values["fields"])

    def _empty(self, values: Mapping[str, Any]) -> str:
        """Tell what stands for emptied fields, of the model that is chosen."""
        empty = empty_fields(self._fields, values)
        if not empty:
            return ""
        known = self._studio.defaults(self._backend, self._models[values["model"]])
        chosen = {label_of(name): value for name, value in known.items()}
        return tell_empty({label: chosen.get(label) or value for label, value in empty.items()})

    def _follow(self, job: StudioRun, beside: tuple[StudioRun, ...]) -> Iterator[RunView]:
        """Show a run until it is over.

        Args:
            job: the run.
            beside: those that it is compared with when it is done.
        """
        off = gr.update(interactive=False)
        view = RunView(
            job=job.id,
            run=off,
            cancel=gr.update(interactive=True),
            frame="",
            forming="",
            analyze=off,
            save_page=off,
            again_lora=off,
            again_sketch=off,
            figures=None,
            files=None,
            command="",
            text="",
        )  # nothing is hidden that is shown again: in a quick run Gradio may mix the two up
        yield view
        shown = None
        for state in self._studio.jobs.follow(job):
            change: dict[str, Any] = {"progress": tell_job(state, self._studio.jobs.before(state))}
            item = self._studio.item(state)
            if item is not None and shown is None:
                shown = item.id
                change["frame"] = _explorer(shown, state.id)
                command = as_command(state.request | {"out": str(state.folder)})
                change["command"] = gr.update(value=command, visible=True)
            if state.frames:
                change["forming"] = _picture(state)
            if state.text:
                change["text"] = gr.update(value=state.text, visible=True)
            if state.is_over:
                change |= self._over(job, beside)
            view = view._replace(**change)
            yield view  # all of it: of several in one moment Gradio shows the last alone

    def _over(self, job: StudioRun, beside: tuple[StudioRun, ...]) -> dict[str, Any]:
        """Return what is shown of a run that is over."""
        change: dict[str, Any] = {"cancel": gr.update(interactive=False), "forming": ""}
        items = [self._studio.item(run) for run in (*beside, job)]
        numbers = [item.id for item in items if item is not None]
        if beside and len(numbers) > 1 and job.status == "complete":
            change["frame"] = _explorer(",".join(numbers), job.id)
        if job.status == "complete":
            change |= _results(job)
        return change


def _explorer(shown: str, version: int) -> str:
    """Return a frame with the explorer; all that stands in it are numbers of ours."""
    return (
        f'<iframe class="explorer" src="/explorer/?n={version}#t={shown}" '
        'title="Attention of the run"></iframe>'
    )


def _picture(job: StudioRun) -> str:
    return (
        f'<img class="forming" src="/studio/forming/{job.id}/{job.frames}" width="128" '
        f'alt="What the model expects of the picture after step {job.frames}">'
    )


def _page_path(folder: Path) -> Path:
    """Return where the one-file page of a trace is."""
    return folder.with_name(f"{folder.name}.html")


def _files(folder: Path) -> list[str]:
    """Return what is there of a trace's report and its page."""
    files = (folder / "analysis" / "report.html", _page_path(folder))
    return [str(path) for path in files if path.is_file()]


def _results(job: StudioRun) -> dict[str, Any]:
    """Return pictures and files of a run that is done."""
    if job.folder is None:
        return {}
    outputs = manifest_of(job.folder).outputs
    names = image_names(outputs)
    figures = [path for name in FIGURES for path in job.files if path.name == name]
    pictures = [str(job.folder / name) for name in names] + [str(path) for path in figures]
    files = _files(job.folder)
    texts = [job.folder / name for name in outputs if Path(name).suffix == ".txt"]
    return {
        "text": gr.update(value=texts[0].read_text("utf-8"), visible=True) if texts else gr.skip(),
        "figures": gr.update(value=pictures, visible=True) if pictures else gr.skip(),
        "files": gr.update(value=files, visible=True) if files else gr.skip(),
    }
