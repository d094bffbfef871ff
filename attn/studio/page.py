"""The page of a family: its form, the run that is watched, and what is done with it afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import gradio as gr

from attn.files.safe_text import visible
from attn.studio.acts import Acts, RunView
from attn.studio.form import FIRST, FURTHER, OF_DRAWING, Field, capture_fields, setting_fields
from attn.studio.gate import REFUSED
from attn.studio.parts import PadParts, field_parts, lora_parts, pad_parts
from attn.studio.studio import BUSY, Studio
from attn.studio.telling import with_fields
from attn.wording import cut

TITLE = "attn studio"
MOST_SAID = 200
"""Letters of a line in the terminal."""
SCRIPTS = ("pad.js", "files.js", "focus.js")
HEAD = "".join(f'<script type="module" src="/studio/{name}"></script>' for name in SCRIPTS)
LATEST: Mapping[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden"}
LATER: Mapping[str, Any] = {
    **LATEST,
    "concurrency_id": "plan",
    "concurrency_limit": 8,  # those that wait for a run must not take all of Gradio's threads
}
AT_ONCE: Mapping[str, Any] = {"show_progress": "hidden", "queue": False}
"""Beside Gradio's stream of events: what begins while the last one of a stream ends may never be
heard of again."""
KEEP_KEY = """key => {
    if (key) sessionStorage.setItem(`attn-run ${location.pathname}`, key);
}"""
FIND_KEY = "() => sessionStorage.getItem(`attn-run ${location.pathname}`) ?? ''"
"""In the browser: a page that is loaded again, in the same tab, knows its run."""
COUNT_EDIT = "() => [crypto.getRandomValues(new Uint32Array(4)).join(), 'Planning …']"
SHOW_PLAN = """(count, answer, shown) => {
    const [of, ...lines] = answer.split("\\n");
    return of === count ? lines.join("\\n") : shown;
}"""
"""In the browser: an edit takes the plan away, and a plan is shown that is of the last edit."""
QUIET: Mapping[str, Any] = {"show_progress": "hidden", "concurrency_limit": None}


class Pages(gr.Blocks):  # type: ignore[misc]  # Gradio has no types
    """Blocks that refuse a form which their page cannot have sent, in one line."""

    async def preprocess_data(self, *arguments: Any, **named: Any) -> list[Any]:
        """Return the values of a form.

        Raises:
            gradio.Error: one of them is none of what its component can hold.
        """
        try:
            values: list[Any] = await super().preprocess_data(*arguments, **named)
        except Exception as error:  # whatever components stumble over
            sys.stderr.write(
                visible(cut(f"refused a form: {' '.join(str(error).split())}", MOST_SAID)) + "\n"
            )
            raise gr.Error(REFUSED, title=REFUSED, print_exception=False) from error
        return values


def make_pages(studio: Studio) -> gr.Blocks:
    """Return a page for each family, the first one at the address of the server."""
    first, *others = studio.families
    with Pages(title=TITLE, analytics_enabled=False) as blocks:
        _Page(studio, first).build(blocks)
    for facts in others:
        with blocks.route(facts["name"], path_of(facts["name"])) as page:
            _Page(studio, facts).build(page)
    return blocks


def path_of(name: str) -> str:
    """Return the address of a family's page, which none of the server's is."""
    return f"with-{name}"


class _Page:
    """The page of one family while it is built."""

    def __init__(self, studio: Studio, facts: Mapping[str, Any]) -> None:
        self._studio, self._facts = studio, facts
        self._models = studio.choices.models_of(facts["name"], facts["demos"])
        settings = setting_fields(facts, self._models)
        self._beside = [about for about in settings if about.name in OF_DRAWING]
        self._own = [about for about in settings if about.name not in OF_DRAWING]
        self._first = capture_fields(FIRST, facts)
        self._further = capture_fields(FURTHER, facts)
        self._reads_drawings = "drawings" in facts["takes"]

    def build(self, page: gr.Blocks) -> None:
        """Put all parts onto the page."""
        gr.Navbar(main_page_name=self._studio.families[0]["name"])
        gr.HTML(f"<h1>{TITLE}: {escape(self._facts['name'])}</h1>")
        if self._studio.broken:
            lines = [f"{name}: {reason}" for name, reason in self._studio.broken.items()]
            gr.Textbox("\n".join(lines), label="Families that cannot be used", lines=1)
        with gr.Row():
            with gr.Column(scale=2, min_width=380):
                self._build_form()
            with gr.Column(scale=3, min_width=420):
                self._build_view()
        self._connect(page)

    @property
    def _fields(self) -> list[Field]:
        return [*self._first, *self._further, *self._beside, *self._own]

    def _build_form(self) -> None:
        facts = self._facts
        names = list(self._models)
        self._model = gr.Dropdown(
            names, value=names[0] if names else None, label="Model", info=with_fields(facts["note"])
        )
        self._prompt = gr.Textbox(value=facts["prompt"], label="Prompt", lines=2)
        parts: dict[str, Any] = {}
        self._pad: PadParts | None = None
        if self._reads_drawings:
            self._pad = pad_parts(has_outline=bool(facts["demos"]))
            with gr.Row():
                parts |= field_parts(self._beside)
        with gr.Row(elem_classes="seed"):
            self._seed = gr.Number(0, label="Seed")
            self._die = gr.Button("Another seed", size="sm", min_width=90)
        parts |= field_parts(self._first)
        self._loras: list[Any] = []
        if "loras" in facts["takes"]:
            with gr.Accordion("LoRAs", open=False):
                self._loras = lora_parts([*facts["loras"], *self._studio.choices.loras])
        with gr.Accordion("More", open=False):
            parts |= field_parts(self._further)
        if self._own:
            with gr.Accordion(f"Options of {facts['name']}", open=False):
                parts |= field_parts(self._own)
        self._parts = parts

    def _build_view(self) -> None:
        self._plan = gr.Textbox(label="Before the run", lines=2, elem_classes="plan")
        self._edits, self._answer = (gr.Textbox(value, visible="hidden") for value in ("0", ""))
        self._waits, self._job = (gr.Textbox(visible="hidden") for _ in range(2))
        self._before = gr.Textbox(self._model.value, visible="hidden")
        self._is_analyzed = gr.Checkbox(True, label="Analyse when it is done")
        with gr.Row():
            self._run = gr.Button("Run", variant="primary", elem_classes="turn")
            self._cancel = gr.Button("Cancel", interactive=False, elem_classes="turn")
        with gr.Tabs():
            with gr.Tab("Run"):
                self._build_run()
            with gr.Tab("Gallery") as self._tab:
                self._index = gr.HTML()

    def _build_run(self) -> None:
        self._progress = gr.Textbox(label="Progress", lines=2, elem_classes="progress")
        self._forming = gr.HTML()
        self._text = gr.Textbox(
            label="Text so far", visible=False, lines=4, elem_classes="text-so-far"
        )
        takes = self._facts["takes"]
        off: Mapping[str, Any] = {"size": "sm", "interactive": False}
        with gr.Row():
            self._analyze = gr.Button("Analyse", **off)
            self._page = gr.Button("One-file page", **off)
            self._again = {
                "lora": gr.Button("Again without the LoRAs", visible="loras" in takes, **off),
                "sketch": gr.Button(
                    "Again without the drawing", visible=self._pad is not None, **off
                ),
            }
        self._figures = gr.Gallery(
            label="Results",
            visible=False,
            columns=3,
            object_fit="contain",
            interactive=False,
            elem_classes="figures",
        )
        self._files = gr.File(
            label="To keep", visible=False, file_count="multiple", elem_classes="files"
        )
        self._frame = gr.HTML()
        self._command = gr.Textbox(
            label="The same as a command",
            visible=False,
            buttons=["copy"],
            lines=2,
            elem_classes="command",
        )

    def _connect(self, page: gr.Blocks) -> None:
        acts = Acts(self._studio, self._facts["name"], self._models, self._fields)
        drawing = [] if self._pad is None else [self._pad.pad, self._pad.empty]
        form = [self._prompt, self._model, self._seed, *drawing, *self._loras]
        form += [self._parts[about.name] for about in self._fields]
        watched = self._watched()

        def run(is_analyzed: bool, *values: Any) -> Iterator[RunView]:
            yield from acts.run(self._values(values), is_analyzed)

        counting = self._connect_plan(page, acts, form)
        ends = [self._run.click(run, [self._is_analyzed, *form], watched, **QUIET)]
        self._cancel.click(acts.cancel, self._job, None, **AT_ONCE)
        self._die.click(acts.throw, None, self._seed, **AT_ONCE)
        self._analyze.click(acts.analyze, self._job, watched, **QUIET)
        self._page.click(acts.save_page, self._job, watched, **QUIET)
        self._job.change(None, self._job, None, js=KEEP_KEY)
        found = page.load(acts.find, self._job, watched, js=FIND_KEY, **QUIET)
        for name, button in self._again.items():
            ends.append(
                button.click(acts.again(name), [self._job, self._is_analyzed], watched, **QUIET)
            )
        numbers = [name for name in ("steps", "guidance", "size") if name in self._parts]
        follow = [self._before, *(self._parts[name] for name in numbers)]
        switch: Mapping[str, Any] = {
            "fn": acts.switch(numbers),
            "inputs": [self._before, self._model, *follow[1:]],
            "outputs": follow,
            **AT_ONCE,
        }
        self._model.change(**switch)
        for end in (found, *ends):  # while it ran, the fields could not follow the model
            followed = end.then(acts.ready, self._job, watched, **AT_ONCE).then(**switch)
            if end is not found:  # a plan was asked for as the page was loaded
                followed.then(**counting)
        self._tab.select(acts.index, None, self._index, **AT_ONCE)
        if self._pad is not None:
            parts = self._pad
            typed = parts.button.click(
                acts.draw, parts.shapes, [parts.pad, parts.refusal], **AT_ONCE
            )
            typed.then(**counting)

    def _connect_plan(self, page: gr.Blocks, acts: Acts, form: list[Any]) -> Mapping[str, Any]:
        """Let the plan be of what the form holds; return what counts one more edit."""

        def plan(count: str, waits: str, *values: Any) -> tuple[str, Any]:
            told = next(acts.plan(self._values(values)))
            return f"{count}\n{told}", f"{waits}." if told == BUSY else gr.skip()

        def plan_later(count: str, *values: Any) -> Iterator[str]:
            yield from (f"{count}\n{told}" for told in acts.plan(self._values(values)))

        counting: Mapping[str, Any] = {
            "fn": None,
            "js": COUNT_EDIT,
            "inputs": None,
            "outputs": [self._edits, self._plan],
        }
        edits = [part.change for part in form if not isinstance(part, gr.ImageEditor)]
        if self._pad is not None:
            edits.append(self._pad.drawn.click)
            # alone: of all that an act hears Gradio takes the values, and the pad's are uploaded
            gr.on([self._pad.pad.upload, self._pad.pad.clear], **counting)
        gr.on([page.load, *edits], **counting)
        # what changes while a plan is asked for may come with it only once the field is left
        left = [part.blur for part in form if isinstance(part, gr.Textbox | gr.Number)]
        asked = [self._edits, self._waits, *form]
        gr.on(
            [self._edits.change, *left], plan, asked, [self._answer, self._waits],
            **LATEST, queue=False,
        )  # fmt: skip
        self._waits.change(plan_later, [self._edits, *form], self._answer, **LATER)
        shown = [self._edits, self._answer, self._plan]
        self._answer.change(None, shown, self._plan, js=SHOW_PLAN)
        return counting

    def _values(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """Return what the form holds, by name."""
        names = ["prompt", "model", "seed"]
        names += ["pad", "empty"] if self._pad is not None else []
        rest = list(values[len(names) :])
        named = dict(zip(names, values, strict=False))
        loras = [rest.pop(0) for _ in self._loras]
        fields = dict(zip((about.name for about in self._fields), rest, strict=True))
        return {**named, "loras": loras, "fields": fields}

    def _watched(self) -> list[Any]:
        view = RunView(
            job=self._job,
            progress=self._progress,
            forming=self._forming,
            text=self._text,
            frame=self._frame,
            command=self._command,
            run=self._run,
            cancel=self._cancel,
            analyze=self._analyze,
            save_page=self._page,
            again_lora=self._again["lora"],
            again_sketch=self._again["sketch"],
            figures=self._figures,
            files=self._files,
        )
        return list(view)
