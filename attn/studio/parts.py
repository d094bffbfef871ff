"""Parts of the form: one of Gradio's components for each field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gradio as gr

from attn.studio.drawing import SHAPES, SIDE, WIDTH
from attn.studio.form import EMPTY_LABEL, LORA_ROWS, Field, label_of, scale_label

NONE = "none"
AUTO = "the prompt's outline"
EMPTY_PAD = (AUTO, NONE)
MOST_SEED = 2**32 - 1
STROKES = ["#000000"]


class PadParts(NamedTuple):
    """The pad and what belongs to it.

    Attributes:
        pad: what is drawn on.
        empty: what stands for an empty one.
        drawn: a button that nobody sees: `pad.js` clicks it when something was drawn.
        shapes: typed in place of strokes.
        button: draws them.
        refusal: why it did not.
    """

    pad: Any
    empty: Any
    drawn: Any
    shapes: Any
    button: Any
    refusal: Any


def make_theme() -> Any:
    """Return Gradio's theme with texts that stand out enough to be read."""
    return gr.themes.Default().set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_300",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
    )


def field_part(about: Field) -> Any:
    """Return a component for a field."""
    common = {
        "label": about.label,
        "info": about.help,
        "interactive": True,
        "elem_classes": f"field-{about.name}",
    }
    if about.kind == "choice":
        return gr.Dropdown(list(about.choices), value=about.default, **common)
    if about.kind == "switch":
        return gr.Checkbox(value=bool(about.default), **common)
    if about.kind in ("whole", "number") and about.default is not None:
        return gr.Number(value=about.default, **common)
    value = "" if about.default is None else str(about.default)
    return gr.Textbox(value=value, placeholder="not set", max_lines=2, **common)


def field_parts(fields: Sequence[Field]) -> dict[str, Any]:
    """Return a component for each field, by its name."""
    return {about.name: field_part(about) for about in fields}


def lora_parts(names: Sequence[str]) -> list[Any]:
    """Return rows of a LoRA and its scale, one after the other."""
    parts: list[Any] = []
    for number in range(1, LORA_ROWS + 1):
        with gr.Row():
            parts.append(gr.Dropdown([NONE, *names], value=NONE, label=f"LoRA {number}"))
            parts.append(gr.Number(value=1.0, step=0.1, label=scale_label(number)))
    return parts


def pad_parts(has_outline: bool) -> PadParts:
    """Return the pad and what belongs to it.

    Args:
        has_outline: whether the model can draw a prompt's outline itself.
    """
    pad = gr.ImageEditor(
        label=label_of("sketch"),
        type="pil",
        sources=("upload",),
        transforms=(),
        layers=False,
        canvas_size=(SIDE, SIDE),
        fixed_canvas=True,
        brush=gr.Brush(default_size=WIDTH, colors=STROKES, color_mode="fixed"),
        eraser=gr.Eraser(default_size=4 * WIDTH),
        elem_classes="pad",
        height=420,
    )
    drawn = gr.Button(visible="hidden", elem_classes="pad-drawn")
    choices = EMPTY_PAD if has_outline else EMPTY_PAD[1:]
    empty = gr.Radio(list(choices), value=choices[0], label=EMPTY_LABEL)
    with gr.Accordion("Draw by keyboard", open=False):
        shapes = gr.Textbox(
            label="Shapes, one a line",
            info=f"{SHAPES}: in hundredths of the side",
            placeholder="circle 50 50 30",
            lines=3,
        )
        button = gr.Button("Draw these", size="sm")
        refusal = gr.Textbox(label="Not drawn", visible=False)
    return PadParts(pad, empty, drawn, shapes, button, refusal)
