"""What the page's buttons do: values of the form in, values of components out."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

import gradio as gr

from attn.errors import AttnError
from attn.explorer.opened import manifest_of
from attn.schema import image_names
from attn.studio.drawing import draw_shapes, pad_file
from attn.studio.form import Field, begin_request, empty_fields, label_of, make_request
from attn.studio.jobs import StudioRun
from attn.studio.parts import MOST_SEED, NONE
from attn.studio.studio import BUSY, Studio
from attn.studio.telling import CANNOT_RUN, tell_empty, tell_failure, tell_job, tell_refusal

P = ParamSpec("P")
FIGURES = (
    *("attention_evolution.gif", "text_vs_sketch_attention.png", "words.png", "roles.png"),
    *("unmasking.gif", "flow.png", "influence.png"),
)
"""What is shown of an analysis, by name; all of it is in the report."""
SKETCH = "sketch"
WITHOUT = {"lora": "without LoRAs", SKETCH: "without drawing"}
"""How a run is called that was made again, by what it has no more."""


class RunView(NamedTuple):
    """The components that show a run, or new values for them; `gr.skip()` leaves one as it is.

    `job` is the key of the run; all others are what they are called.
    """

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


def telling(
    what: str,
) -> Callable[[Callable[P, Iterator[RunView]]], Callable[P, Iterator[RunView]]]:
    """Return what makes an act tell on the page why it failed.

    Args:
        what: was to be done, and was not.
    """

    def tell(act: Callable[P, Iterator[RunView]]) -> Callable[P, Iterator[RunView]]:
        @wraps(act)
        def told(*args: P.args, **named: P.kwargs) -> Iterator[RunView]:
            yield RunView()  # Gradio empties what an act shows that yields nothing
            try:
                yield from act(*args, **named)
            except AttnError as error:
                yield RunView(progress=tell_failure(what, error))
            except Exception as error:  # noqa: BLE001 - whatever it is, the page goes on
                traceback.print_exc()
                yield RunView(progress=tell_failure(what, f"{type(error).__name__}: {error}"))

        return told

    return tell


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

    @telling(CANNOT_RUN)
    def run(self, values: Mapping[str, Any], is_analyzed: bool) -> Iterator[RunView]:
        """Run what the form holds, and show it."""
        job = self._studio.jobs.submit(self._request(values), is_analyzed=is_analyzed)
        yield from self._follow(job)

    def again(self, name: str) -> Callable[[str | None, bool], Iterator[RunView]]:
        """Return what runs a request once more without its LoRAs or its drawing."""

        @telling(CANNOT_RUN)
        def run(key: str | None, is_analyzed: bool) -> Iterator[RunView]:
            before = self._job(key)
            if before is None:
                return
            request = {key: value for key, value in before.request.items() if key != name}
            if name == SKETCH:
                request[SKETCH] = NONE
            variant = f"{before.variant} {WITHOUT[name]}".strip()
            job = self._studio.jobs.submit(
                request, is_analyzed=is_analyzed, variant=variant, earlier=before
            )
            yield from self._follow(job)

        return run

    @telling("The run cannot be shown")
    def find(self, key: str | None) -> Iterator[RunView]:
        """Show the run of a page that was loaded again, or one of the family that has no page."""
        alone = self._studio.jobs.alone()
        if alone is not None and alone.request["backend"] != self._backend:
            alone = None
        job = self._job(key) or alone
        if job is not None:
            yield from self._follow(job)

    def ready(self, key: str | None) -> RunView:
        """Let runs begin again: Gradio takes no click while the last one is answered."""
        job = self._job(key)
        if job is None or not job.is_over:  # there was none, or another one was begun
            return RunView()
        request = job.request if job.status == "complete" else None
        is_drawn = request is not None and request.get(SKETCH) != NONE
        return RunView(
            run=gr.update(interactive=True),
            cancel=gr.update(interactive=False),
            analyze=gr.update(interactive=request is not None),
            save_page=gr.update(interactive=request is not None),
            again_lora=gr.update(interactive=request is not None and "lora" in request),
            again_sketch=gr.update(interactive=is_drawn),
        )

    def cancel(self, key: str | None) -> None:
        """End a run after its step."""
        job = self._job(key)
        if job is not None:
            self._studio.jobs.cancel(job)

    @telling("The analysis failed")
    def analyze(self, key: str | None) -> Iterator[RunView]:
        """Analyse the trace of a run."""
        job = self._job(key)
        if job is None or job.folder is None:
            return
        yield RunView(progress="Analysing …")
        self._studio.jobs.analyze(job)
        yield RunView(progress=self._told(job), **_results(job))

    @telling("The page was not written")
    def save_page(self, key: str | None) -> Iterator[RunView]:
        """Write the page of a run into one file, and offer it."""
        from attn.verbs.view import save_page
        from attn.verbs.view_options import ViewOptions

        job = self._job(key)
        if job is None or job.folder is None:
            return
        yield RunView(progress="Writing the page …")
        left_out = save_page([job.folder], ViewOptions(out=_page_path(job.folder)))
        yield RunView(
            progress="\n".join([self._told(job), *left_out]),
            files=gr.update(value=_files(job.folder), visible=True),
        )

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

    def switch(self, names: Sequence[str]) -> Callable[..., list[Any]]:
        """Return what lets fields follow the model, when another one was chosen.

        Args:
            names: of the fields.
        """

        def follow(before: str | None, model: str | None, *values: Any) -> list[Any]:
            after: Mapping[str, Any] | None = None
            models = self._models.get(before or ""), self._models.get(model or "")
            if before != model and models[0] and models[1]:
                held = dict(zip(names, values, strict=True))
                after = self._studio.values_after(self._backend, models[0], models[1], held)
            if after is None:  # nothing is to be done, or later
                return [gr.skip()] * (1 + len(names))
            return [model, *(after[name] for name in names)]

        return follow

    def _job(self, key: str | None) -> StudioRun | None:
        return self._studio.jobs.find(key) if key else None

    def _told(self, job: StudioRun) -> str:
        """Return how far a run is."""
        jobs = self._studio.jobs
        return self._studio.reword(tell_job(job, jobs.before(job), jobs.alone()))

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

    @telling("The run cannot be shown")
    def _follow(self, job: StudioRun) -> Iterator[RunView]:
        """Show a run until it is over."""
        off = gr.update(interactive=False)
        view = RunView(
            job=job.key,
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
            change: dict[str, Any] = {"progress": self._told(state)}
            item = self._studio.item(state)
            if item is not None and shown is None:
                shown = item.id
                change["frame"] = _explorer(shown, state.id)
                change["command"] = gr.update(value=self._studio.command(state), visible=True)
            if state.frames:
                change["forming"] = _picture(state)
            if state.text:
                change["text"] = gr.update(value=state.text, visible=True)
            if state.is_over:
                change |= self._over(job)
            view = view._replace(**change)
            yield view  # all of it: of several in one moment Gradio shows the last alone

    def _over(self, job: StudioRun) -> dict[str, Any]:
        """Return what is shown of a run that is over."""
        change: dict[str, Any] = {"cancel": gr.update(interactive=False), "forming": ""}
        items = [self._studio.item(run) for run in (job.earlier, job) if run is not None]
        numbers = [item.id for item in items if item is not None]
        if len(numbers) > 1 and job.status == "complete":
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
