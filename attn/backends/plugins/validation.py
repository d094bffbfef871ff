"""What the answers of a backend must be: of the right type first, then such that they make sense.

A check raises an `AnswerError`. Whoever asked says whose the answer is: `guard` of another
package's backend, `testing` of one that is being written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Seq
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from attn.backends.plugins.answer_types import AnswerError, got
from attn.errors import did_you_mean
from attn.options import describe_options
from attn.schema import Call, Layer, Request, Segment, Sequence, Token, part
from attn.trace.manifests import has_gaps, layer_problems, segment_problems

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import nn

    from attn.backends.types import Output

PNG_MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
"""Of the modes of pictures, those that PNG holds without loss."""


def check_declared(backend: Any) -> None:
    """Check what a backend declares of itself."""
    options = getattr(backend, "Options", None)
    fix = "make it a @dataclass(frozen=True) whose fields have types and defaults"
    if not (isinstance(options, type) and is_dataclass(options)):
        raise AnswerError(f"got {got(options)}, expected a dataclass", fix, "Options")
    try:
        describe_options(options)
    except Exception as error:
        raise AnswerError(f"{type(error).__name__}: {error}", fix, "Options") from error
    for name in ("example_prompt", "demo_note"):
        text = getattr(backend, name, None)
        if not isinstance(text, str):
            raise AnswerError(f"got {got(text)}, expected a text", "write one into the class", name)
    variants = getattr(backend, "variants", None)
    if not isinstance(variants, tuple) or not all(isinstance(name, str) for name in variants):
        raise AnswerError(
            f"got {got(variants)}, expected a tuple of texts",
            "name the demo models beside demo, or leave it out",
            "variants",
        )
    varying = getattr(backend, "request_options", None)
    names = {option.name for option in fields(options)}
    if not isinstance(varying, tuple) or not {*varying} <= names:
        raise AnswerError(
            f"got {got(varying)}, expected a tuple of names of options",
            f"name some of {', '.join(sorted(names)) or 'none'}",
            "request_options",
        )


def check_request(request: Request) -> None:
    """Check a completed request."""
    if request.steps is None or request.steps < 1:
        raise AnswerError(
            f"got {request.steps}, expected a number from 1",
            "return dataclasses.replace(request, …) with the model's default for every None",
            ".steps",
        )


def check_branches(branches: tuple[str, ...]) -> None:
    """Check that `cond` is first and no branch is there twice."""
    if branches[:1] != ("cond",):
        raise AnswerError(f"it has {branches}", "put 'cond' first")
    if len(set(branches)) < len(branches):
        raise AnswerError(f"it has {branches}", "name each guidance row once")


def check_towers(towers: Mapping[str, nn.Module]) -> None:
    """Check that there is something to watch."""
    if not towers:
        raise AnswerError(
            "got {}, expected a module by the name 'denoiser'", "return the model's modules"
        )


def check_sequence(sequence: Sequence, branch: str, prompt: str) -> None:
    """Check that segments cover the sequence in order, and text segments have their tokens."""
    where = f"branch {branch}"
    _check_segments(segment_problems(where, sequence.segments))
    ends = [0, *(segment.stop for segment in sequence.segments)]
    for segment, end in zip(sequence.segments, ends, strict=False):
        if segment.start != end:
            raise AnswerError(
                f"{where}: segment '{segment.name}' begins at {segment.start}, expected {end}",
                "cover every position once",
            )
    texts = {segment.name: segment for segment in part(sequence.segments, "text")}
    for name in [*(token.segment for token in sequence.tokens), *sequence.truncated]:
        if name not in texts:
            raise AnswerError(
                f"{where}: '{name}' of a token or of truncated is no text segment",
                f"name one of {', '.join(texts) or 'those that it has'}",
            )
    for segment in texts.values():
        tokens = [token for token in sequence.tokens if token.segment == segment.name]
        if tokens or prompt:  # a row without a text may read zeros, which have no tokens
            _check_tokens(where, segment, tokens, prompt)


def check_layers(
    layers: tuple[Layer, ...], towers: Mapping[str, nn.Module], sequence: Sequence
) -> None:
    """Check that layers are there, once each, and laid out as the sequence is."""
    if not layers:
        raise AnswerError(
            "got (), expected at least one Layer", "declare the model's attention modules"
        )
    indices = [layer.index for layer in layers]
    if indices != list(range(len(layers))):
        raise AnswerError(f"indices are {indices}", "number them 0, 1, 2, …")
    modules = {name: dict(tower.named_modules()) for name, tower in towers.items()}
    seen = set()
    for layer in layers:
        _check_module(layer, modules)
        if (layer.tower, layer.path) in seen:
            raise AnswerError(f"{layer.path} is there twice", "declare every attention module once")
        seen.add((layer.tower, layer.path))
        _check_segments(layer_problems(layer))
        for segment in (*layer.queries, *layer.keys):
            _check_layout(layer, segment, sequence)


def check_order(call: Call, before: int, steps: int) -> None:
    """Check that steps are announced 0, 1, …, and how much noise is left.

    Args:
        call: the announcement.
        before: step of the call before, -1 if there was none.
        steps: how many the request has.
    """
    due = [step for step in (before, before + 1) if 0 <= step < steps]
    if call.step not in due:
        raise AnswerError(
            f"got {call.step}, expected {' or '.join(map(str, due))}",
            f"announce steps 0 to {steps - 1} in the order in which they run",
            ".step",
        )
    if call.noise is not None and not 0 <= call.noise <= 1:
        raise AnswerError(
            f"got {call.noise}, expected 0 to 1", "give the share of noise that is left", ".noise"
        )


def check_call(
    call: Call, towers: Mapping[str, nn.Module], branches: tuple[str, ...], samples: int
) -> None:
    """Check an announcement against what the session says of itself and of a request."""
    if call.tower not in towers:
        raise AnswerError(
            f"got '{call.tower}', expected one of {', '.join(towers)}",
            "use the names of towers()",
            ".tower",
        )
    wrong = [row for row in call.rows if row[0] not in branches or not 0 <= row[1] < samples]
    if wrong or not call.rows:
        raise AnswerError(
            f"got {wrong or 'none'}, expected {', '.join(branches)} of samples 0 to {samples - 1}",
            "say of every row of the batch which (branch, sample) it is",
            ".rows",
        )
    for name in ("padding", "lengths"):
        numbers = getattr(call, name)
        if numbers and len(numbers) != len(call.rows):
            raise AnswerError(
                f"got {len(numbers)} numbers for {len(call.rows)} rows", "one each", f".{name}"
            )


def check_outputs(outputs: Seq[Output], requests: Seq[Request]) -> None:
    """Check that every request has its pictures or texts."""
    if len(outputs) != len(requests):
        raise AnswerError(
            f"got {len(outputs)} outputs for {len(requests)} requests", "give one for each"
        )
    for number, (output, request) in enumerate(zip(outputs, requests, strict=True)):
        if not (output.images or output.texts or output.histories):
            raise AnswerError(
                "got no images, texts or histories",
                "give one for each of request.images",
                f"[{number}]",
            )
        for name in ("images", "videos", "texts", "histories", "tokens", "noise", "forming"):
            count = len(getattr(output, name))
            if count not in (0, request.images):
                raise AnswerError(
                    f"got {count}, expected request.images = {request.images}",
                    "give one for each",
                    f"[{number}].{name}",
                )
        for index, image in enumerate(output.images):
            _check_mode(image, f"[{number}].images[{index}]")
        for name in ("forming", "videos"):
            for index, frames in enumerate(getattr(output, name)):
                _check_frames(frames, f"[{number}].{name}[{index}]")
        if output.sketch is not None:
            _check_mode(output.sketch, f"[{number}].sketch")
        try:
            json.dumps(output.histories)
        except (TypeError, ValueError) as error:
            raise AnswerError(
                f"not for JSON: {error}",
                "give numbers, texts, lists, dicts",
                f"[{number}].histories",
            ) from error


def _check_frames(frames: Seq[Image], location: str) -> None:
    sizes = sorted({frame.size for frame in frames})
    if len(sizes) != 1:
        raise AnswerError(
            f"got frames of the sizes {sizes}",
            "give frames of one size",
            location,
        )
    for frame in frames:
        _check_mode(frame, location)


def _check_mode(image: Image, location: str) -> None:
    if image.mode not in PNG_MODES:
        raise AnswerError(
            f"got a picture of mode {image.mode}, expected one of {', '.join(PNG_MODES)}",
            'scale its values to 0 to 255 if need be, and return picture.convert("RGB")',
            location,
        )


def _check_segments(problems: Iterator[str]) -> None:
    for problem in problems:
        raise AnswerError(
            problem,
            "give heads from 1, segments in order, none empty or over another, each name once "
            "(letters, digits, _ and -), grids of rows · columns positions",
        )


def _check_tokens(where: str, segment: Segment, tokens: list[Token], prompt: str) -> None:
    positions = [token.position for token in tokens]
    if positions != list(range(segment.start, segment.stop)):
        shown = f"at {positions[:5]}{'…' * (len(positions) > 5)}"  # noqa: PLR2004
        raise AnswerError(
            f"{where}: segment '{segment.name}' is {segment.start} to {segment.stop - 1}, "
            f"its tokens are {shown if positions else 'missing'}",
            "give one token per position, padding included, in order",
        )
    if has_gaps(tokens):
        raise AnswerError(
            f"{where}: the padding of segment '{segment.name}' has gaps",
            "call padding only what stands before or after the whole text",
        )
    for token in tokens:
        if token.is_content and not 0 <= token.start <= token.stop <= len(prompt):
            raise AnswerError(
                f"{where}: token {token.text!r} spans {token.start} to {token.stop} of a "
                f"prompt of {len(prompt)} characters",
                "give character offsets into the branch's own prompt",
            )


def _check_module(layer: Layer, modules: Mapping[str, Mapping[str, nn.Module]]) -> None:
    if layer.tower not in modules:
        raise AnswerError(
            f"layer {layer.path} is of tower '{layer.tower}', towers() has {', '.join(modules)}",
            "use the names of towers()",
        )
    names = modules[layer.tower]
    for path in (layer.path, *(gate.path for gate in layer.gates)):
        if path not in names:
            raise AnswerError(
                f"{layer.tower} has no module '{path}'.{did_you_mean(path, names)}",
                "give paths relative to the tower, as in tower.named_modules()",
            )


def _check_layout(layer: Layer, segment: Segment, sequence: Sequence) -> None:
    if segment.kind == "image" and segment.grid is None:
        raise AnswerError(
            f"{layer.path}: segment '{segment.name}' has {segment.length} positions and grid None",
            "give (rows, columns) that hold them; of a video (frames, rows, columns)",
        )
    lengths = {text.name: text.length for text in part(sequence.segments, "text")}
    if segment.kind == "text" and lengths.get(segment.name) != segment.length:
        raise AnswerError(
            f"{layer.path}: text segment '{segment.name}' has {segment.length} positions, "
            f"in sequence() {lengths.get(segment.name, 'it does not exist')}",
            "make layers() and sequence() agree",
        )
