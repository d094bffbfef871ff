"""The page of a family: its form, the run that is watched, and what is done with it afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import gradio as gr

from attn.studio.acts import Acts, RunView
from attn.studio.form import FIRST, FURTHER, OF_DRAWING, Field, capture_fields, setting_fields
from attn.studio.parts import field_parts, lora_parts, pad_parts
from attn.studio.studio import BUSY, Studio
from attn.studio.telling import with_fields

TITLE = "attn studio"
SCRIPT = "/studio/pad.js"
HEAD = f'<script type="module" src="{SCRIPT}"></script>'
LATEST: Mapping[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden"}
LATER: Mapping[str, Any] = {
    **LATEST,
    "concurrency_id": "plan",
    "concurrency_limit": 8,  # those that wait for a run must not take all of Gradio's threads
}
AT_ONCE: Mapping[str, Any] = {"show_progress": "hidden", "queue": False}
"""Beside Gradio's stream of events: what begins while the last one of a stream ends may never be
heard of again."""
QUIET: Mapping[str, Any] = {"show_progress": "hidden", "concurrency_limit": None}


def make_pages(studio: Studio) -> gr.Blocks:
    """Return a page for each family, the first one at the address of the server."""
    first, *others = studio.families
    with gr.Blocks(title=TITLE, analytics_enabled=False) as blocks:
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
        names = list(self._models.values())
        settings = setting_fields(facts, names)
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
        self._pad: tuple[Any, ...] = ()
        if self._reads_drawings:
            self._pad = pad_parts(has_outline=bool(facts["demos"]))
            with gr.Row():
                parts |= field_parts(self._beside)
        with gr.Row():
            self._seed = gr.Number(0, label="Seed")
            self._die = gr.Button("Another seed", size="sm", min_width=90)
        parts |= field_parts(self._first)
        self._loras: list[Any] = []
        if "loras" in facts["takes"]:
            with gr.Accordion("LoRAs", open=False):
                self._loras = lora_parts(list(self._studio.choices.all_loras))
        with gr.Accordion("More", open=False):
            parts |= field_parts(self._further)
        if self._own:
            with gr.Accordion(f"Options of {facts['name']}", open=False):
                parts |= field_parts(self._own)
        self._parts = parts

    def _build_view(self) -> None:
        self._plan = gr.Textbox(label="Before the run", lines=2, elem_classes="plan")
        self._waits = gr.Textbox(visible="hidden")
        self._is_analyzed = gr.Checkbox(True, label="Analyse when it is done")
        with gr.Row():
            self._run = gr.Button("Run", variant="primary")
            self._cancel = gr.Button("Cancel", interactive=False)
        with gr.Tabs():
            with gr.Tab("Run"):
                self._build_run()
            with gr.Tab("Gallery") as self._tab:
                self._index = gr.HTML()

    def _build_run(self) -> None:
        self._job = gr.State(None)
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
                "sketch": gr.Button("Again without the drawing", visible=bool(self._pad), **off),
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
        form = [self._prompt, self._model, self._seed, *self._pad[:2], *self._loras]
        form += [self._parts[about.name] for about in self._fields]
        watched = self._watched()

        def plan(waits: str, *values: Any) -> tuple[str, Any]:
            told = next(acts.plan(self._values(values)))
            return told, f"{waits}." if told == BUSY else gr.skip()

        def plan_later(*values: Any) -> Iterator[str]:
            yield from acts.plan(self._values(values))

        def run(is_analyzed: bool, *values: Any) -> Iterator[RunView]:
            yield from acts.run(self._values(values), is_analyzed)

        # the pad sends its strokes with the next act, not by themselves
        apart = (gr.Textbox, gr.ImageEditor)
        changes = [part.change for part in form if not isinstance(part, apart)]
        # a change that falls into a plan may come with the number before it
        changes += [part.blur for part in form if isinstance(part, gr.Textbox | gr.Number)]
        planning = (plan, [self._waits, *form], [self._plan, self._waits])
        gr.on([page.load, *changes], *planning, **LATEST, queue=False)
        self._waits.change(plan_later, form, self._plan, **LATER)
        ends = [self._run.click(run, [self._is_analyzed, *form], watched, **QUIET)]
        self._cancel.click(acts.cancel, self._job, None, **AT_ONCE)
        self._die.click(acts.throw, None, self._seed, **AT_ONCE)
        self._analyze.click(acts.analyze, self._job, watched, **QUIET)
        self._page.click(acts.save_page, self._job, self._files, **QUIET)
        for name, button in self._again.items():
            ends.append(button.click(acts.again(name), self._job, watched, **QUIET))
        for end in ends:
            over = end.then(acts.ready, self._job, watched, **AT_ONCE)
            over.then(*planning, **LATEST, queue=False)
        self._tab.select(acts.index, None, self._index, **AT_ONCE)
        numbers = [name for name in ("steps", "guidance", "size") if name in self._parts]
        shown = [self._parts[name] for name in numbers]
        if shown:
            self._model.input(acts.defaults(numbers), self._model, shown, **AT_ONCE)
        if self._pad:
            pad, _, shapes, button = self._pad
            button.click(acts.draw, shapes, [pad, self._plan], **AT_ONCE)

    def _values(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """Return what the form holds, by name."""
        names = ["prompt", "model", "seed"]
        names += ["pad", "empty"] if self._pad else []
        rest = list(values[len(names) :])
        named = dict(zip(names, values, strict=False))
        loras = [rest.pop(0) for _ in self._loras]
        fields = dict(zip((about.name for about in self._fields), rest, strict=True))
        return {**named, "loras": loras, "fields": fields}

    def _watched(self) -> list[Any]:
        view = RunView(
            job=self._job,
            plan=self._plan,
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
