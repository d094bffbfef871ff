"""Pictures that exist already: shown to a model at levels of noise, or drawn further.

All is done by the library's own pipelines for pictures, which share the networks of the text's. To
show a picture, such a pipeline runs once for each level with a sampler that knows that level alone:
it encodes the picture with the VAE (a draw of its posterior), adds the noise of the seed,

    flow       x = (1 - σ) x₀ + σ ε
    others     x = √(1 - σ²) x₀ + σ ε

and runs the denoiser once; what it makes of the answer is thrown away.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import (
    AutoPipelineForImage2Image,
    AutoPipelineForInpainting,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from PIL import ImageOps
from PIL.Image import Image, Resampling

from attn.backends.diffusers import schedules
from attn.backends.diffusers.sharing import alone
from attn.backends.diffusers.sizes import usual_size
from attn.backends.loading.quiet import quiet
from attn.backends.types import OnCall, Output
from attn.errors import RequestError
from attn.files.images import DRAWINGS, MOST_BYTES, decode_image
from attn.files.outside import read_bytes
from attn.schema import Call, ExistingPicture, Request

if TYPE_CHECKING:
    from attn.backends.diffusers.session import DiffusersSession

NEAR = 0.02
"""Proportions that differ by less than this are the same."""
DECODED = 4
"""So many pictures are kept decoded."""


NEEDED = {
    "picture": "this model draws a picture further: give it with --picture FILE",
    "mask": (
        "this model repaints a part of a picture: give that with --picture FILE, and with "
        "--mask-picture FILE, white, what is drawn anew"
    ),
}
"""What is said of a request without what a model needs; see `DiffusersSession.needed_picture`."""


class _FlowLevel(FlowMatchEulerDiscreteScheduler):
    """A sampler of flows that knows one level of noise: σ itself."""

    level = 1.0

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Any = None,
        mu: Any = None,
        timesteps: Any = None,
    ) -> None:
        """Take the one level, whatever is asked for."""
        self.num_inference_steps = 1
        self.sigmas = torch.tensor([self.level, 0.0])
        self._step_index = self._begin_index = None
        whole = self.config["num_train_timesteps"]  # type: ignore[attr-defined]
        self.timesteps = torch.tensor([self.level * whole], device=device)


class _DiffusionLevel(DDIMScheduler):
    """Another sampler: it knows that timestep of the training whose noise is nearest to a level."""

    level = 1.0

    def set_timesteps(self, num_inference_steps: int | None = None, device: Any = None) -> None:
        """Take the one level, whatever is asked for."""
        self.num_inference_steps = 1
        levels = np.sqrt(1 - np.asarray(vars(self)["alphas_cumprod"], np.float64))
        nearest = int(np.abs(levels - self.level).argmin())
        self.timesteps = torch.tensor([nearest], device=device)


def at_level(scheduler: Any, level: float) -> Any:
    """Return a sampler of the model's kind that knows one level of noise, 0 to 1."""
    cls: Any = _FlowLevel if schedules.target(scheduler) == "flow" else _DiffusionLevel
    made = cls.from_config(scheduler.config)
    made.level = level
    return made


def image_pipeline(pipe: Any, picture: ExistingPicture) -> Any:
    """Return the library's pipeline for a picture, with the networks of another.

    Raises:
        RequestError: the library has none.
    """
    kind = AutoPipelineForInpainting if picture.mask else AutoPipelineForImage2Image
    what = "inpainting" if picture.mask else "pictures"
    try:
        with quiet():
            made = kind.from_pipe(pipe)
    except ValueError as error:
        raise RequestError(
            f"diffusers has no pipeline for {what} beside {type(pipe).__name__}; leave "
            f"{'--mask-picture' if picture.mask else '--picture'} out"
        ) from error
    made.set_progress_bar_config(disable=True)
    return made


def complete(session: DiffusersSession, request: Request) -> Request:
    """Return a request with the size of its picture, and the steps that run.

    Raises:
        RequestError: the library has no pipeline for it, or there is none where one is needed.
    """
    picture, needed = request.picture, session.needed_picture
    if needed and (picture is None or (needed == "mask" and not picture.mask)):
        raise RequestError(NEEDED[needed])
    if picture is None:
        return request
    image_pipeline(session.pipe, picture)
    if picture.noise:
        request = replace(request, steps=len(picture.noise))
    if request.width is None and request.height is None:
        width, height = usual_size(
            _open(picture.file, picture.sha256).size, session.default_side(), session.multiple
        )
        request = replace(request, width=width, height=height)
    return request


def remarks(request: Request) -> tuple[str, ...]:
    """Say what is cut off of a picture of other proportions than are drawn."""
    picture = request.picture
    if picture is None:
        return ()
    size = _open(picture.file, picture.sha256).size
    box = _middle(size, (request.width or 1, request.height or 1))
    shown = round(box[2] - box[0]), round(box[3] - box[1])
    if (
        max(shown[0] / size[0], shown[1] / size[1]) <= 1
        and min(shown[0] / size[0], shown[1] / size[1]) > 1 - NEAR
    ):
        return ()
    return (
        f"{Path(picture.file).name} is {size[0]}x{size[1]}, of other proportions than "
        f"{request.width}x{request.height}: its middle {shown[0]}x{shown[1]} is shown",
    )


def fitted(file: str, digest: str, size: tuple[int, int], *, is_mask: bool = False) -> Image:
    """Return the middle of a picture in another size, as it is shown to the model.

    Args:
        file: of the picture.
        digest: SHA-256 of the file, when the run was planned.
        size: width and height.
        is_mask: whether it is a mask, which stays black and white.

    Raises:
        RequestError: the file is another by now.
    """
    image = _open(file, digest)
    box = _middle(image.size, size)
    if is_mask:
        return image.convert("L").resize(size, Resampling.NEAREST, box)
    return image.convert("RGB").resize(size, Resampling.LANCZOS, box)


def _middle(size: tuple[int, int], shown: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the largest box in the middle of a picture that has other proportions."""
    factor = min(size[0] / shown[0], size[1] / shown[1])
    width, height = shown[0] * factor, shown[1] * factor
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, left + width, top + height


@lru_cache(DECODED)
def _open(file: str, digest: str) -> Image:
    data = read_bytes(Path(file), limit=MOST_BYTES)
    if sha256(data).hexdigest() != digest:
        raise RequestError(
            f"picture: {file} was written again since the run was planned; run again"
        )
    return ImageOps.exif_transpose(decode_image(data, DRAWINGS))


def arguments(pipe: Any, request: Request, usual: dict[str, Any], count: int) -> dict[str, Any]:
    """Return the arguments of a pipeline for pictures.

    Args:
        pipe: the pipeline.
        request: with a picture.
        usual: those of the text's pipeline, some of which the other does not take.
        count: texts of the batch.

    Raises:
        RequestError: an option would have no effect.
    """
    picture, size = request.picture, (request.width or 0, request.height or 0)
    if picture is None:
        return usual
    strength = picture.strength or 1.0
    more = {"image": [fitted(picture.file, picture.sha256, size)] * count, "strength": strength}
    if picture.mask:
        more["mask_image"] = [fitted(picture.mask, picture.mask_sha256, size, is_mask=True)] * count
    if picture.noise:
        more["output_type"] = "latent"
    else:
        more["num_inference_steps"] = scheduled_steps(pipe, request.steps or 1, strength)
    takes = inspect.signature(type(pipe).__call__).parameters
    for name, value in usual.items():
        if name not in takes and name not in ("width", "height") and value:
            raise RequestError(
                f"{type(pipe).__name__} takes no {name}; leave the option out, or the picture"
            )
    return {name: value for name, value in (usual | more).items() if name in takes}


def scheduled_steps(pipe: Any, steps: int, strength: float) -> int:
    """Return of how many steps a schedule must be so that so many run at a strength.

    Pipelines round each in its way, so their own rule is asked.
    """
    count = steps
    while _count_steps(pipe, count, strength) < steps:
        count += 1
    return count


def _count_steps(pipe: Any, count: int, strength: float) -> int:
    """Return how many steps of a schedule run at a strength."""
    scheduler: Any = SimpleNamespace(timesteps=range(count), order=1)
    is_flow = schedules.target(pipe.scheduler) == "flow"
    if not is_flow:  # some have more timesteps than steps
        scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
        scheduler.set_timesteps(count)
    alone = SimpleNamespace(scheduler=scheduler)
    ran = len(type(pipe).get_timesteps(alone, count, strength, None)[0])
    return ran if is_flow else len(set(schedules.call_steps(scheduler)[-ran:])) * bool(ran)


@contextmanager
def _counted(session: DiffusersSession) -> Iterator[None]:
    """Note, while the session's pipeline runs, how much of the schedule it leaves out."""
    pipe = session.pipe
    usual = pipe.get_timesteps

    def get_timesteps(*args: Any, **keywords: Any) -> Any:
        timesteps, count = usual(*args, **keywords)
        session._skipped_calls = len(pipe.scheduler.timesteps) - len(timesteps)
        return timesteps, count

    pipe.get_timesteps = get_timesteps
    try:
        yield
    finally:
        session._skipped_calls = 0


def show(
    session: DiffusersSession, requests: Sequence[Request], on_call: OnCall | None
) -> list[Output]:
    """Show a picture at its levels of noise, or draw it further; see `Session.generate`."""
    picture, pipe = requests[0].picture, session.pipe
    if picture is None:
        return session._run(requests, on_call)
    with alone(pipe):
        session.pipe, session._forms = image_pipeline(pipe, picture), False
        try:
            if picture.noise:
                return _show_levels(session, requests, picture, on_call)
            with _counted(session):
                return session._run(requests, on_call)
        finally:
            session.pipe, session._forms = pipe, True


def _show_levels(
    session: DiffusersSession,
    requests: Sequence[Request],
    picture: ExistingPicture,
    on_call: OnCall | None,
) -> list[Output]:
    before, outputs = session.scheduler, []
    try:
        for step, level in enumerate(picture.noise):
            session.scheduler = at_level(before, level)
            plain = [replace(request, scheduler=None) for request in requests]
            outputs.append(session._run(plain, _at_step(on_call, step)))
    finally:
        session.scheduler = before
    first = requests[0]
    image = fitted(picture.file, picture.sha256, (first.width or 0, first.height or 0))
    return [replace(of, images=(image,) * first.images, forming=()) for of in outputs[0]]


def _at_step(on_call: OnCall | None, step: int) -> OnCall | None:
    """Return what is told of forwards, as those of a step."""
    if on_call is None:
        return None

    def tell(call: Call) -> None:
        on_call(replace(call, step=step))

    return tell
