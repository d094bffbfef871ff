"""What attn needs to know of the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from attn.backends import (
    AUTOMATIC,
    Backend,
    ModelInfo,
    OnCall,
    Output,
    Placement,
    Session,
    image_seed,
)
from attn.backends.shared import choose_device, choose_dtype, dtype_name, fingerprint, resolve
from attn.errors import CaptureError, ModelError, RequestError
from attn.schema import Call, Grid, Layer, Request, Segment
from attn.schema import Sequence as TokenSequence
from attn_toy.model import HEADS, LENGTH, PATCH, WIDTH, Model
from attn_toy.words import read


@dataclass(frozen=True)
class ToyOptions:
    """What `--set` takes."""

    blocks: int = field(default=2, metadata={"help": "number of attention blocks (1 to 8)"})

    def __post_init__(self) -> None:
        if not 1 <= self.blocks <= 8:
            raise ValueError(f"blocks must be 1 to 8; got {self.blocks}")


class ToyBackend(Backend):
    """Opens `demo`, or a file of weights."""

    Options = ToyOptions
    example_prompt = "a red cat on a wooden chair"

    def open(
        self, source: str | Path | object, options: ToyOptions, placement: Placement = AUTOMATIC
    ) -> Session:
        """Make the model and fill it; see `Backend.open`."""
        if placement.offload != "none":
            raise ModelError("a toy has nothing to offload; leave --offload out")
        device = choose_device(placement.device) if placement.weights else "meta"
        kind = choose_dtype(placement.dtype, device)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            model = Model(options.blocks)
        identity = {"revision": "demo"}
        if source != "demo":
            path = resolve(str(source), "toy", expected="a .safetensors file").path
            fill(model, path)
            identity = fingerprint({"model": path}, None)()
        model = model.eval().to(device, kind)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        info = ModelInfo(str(source), lambda: identity, dtype_name(kind), parameters)
        return ToySession(model, info)


def fill(model: Model, path: Path) -> None:
    """Load weights; a weight that is missing or left over is an error, never a random number."""
    try:
        model.load_state_dict(load_file(path))
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{path} is no toy of {len(model.blocks)} blocks: {reason}") from error


class ToySession(Session):
    """A model that is loaded."""

    def __init__(self, model: Model, info: ModelInfo) -> None:
        self.model = model
        self.info = info

    def towers(self) -> Mapping[str, nn.Module]:
        """Return the one module whose attention can be captured."""
        return {"denoiser": self.model}

    def complete(self, request: Request) -> Request:
        """Fill in what was not asked for, and refuse what cannot be had."""
        width, height = request.width or 11 * PATCH, request.height or 7 * PATCH
        if width % PATCH or height % PATCH:
            raise RequestError(f"size {width}x{height}: both sides must be divisible by {PATCH}")
        if request.scheduler not in (None, "euler"):
            raise RequestError(f"no scheduler '{request.scheduler}'; there is euler")
        return replace(
            request,
            negative=request.negative or "",
            steps=4 if request.steps is None else request.steps,
            guidance=3.0 if request.guidance is None else request.guidance,
            width=width,
            height=height,
            scheduler="euler",
        )

    def branches(self, request: Request) -> tuple[str, ...]:
        """Return the rows that guidance runs, `cond` first."""
        guided = request.guidance is not None and request.guidance > 1
        return ("cond", "uncond") if guided else ("cond",)

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """Return every block: text first, then the picture, as queries and as keys."""
        both = segments(request)
        return tuple(
            Layer(
                index=index,
                tower="denoiser",
                path=f"blocks.{index}",
                kind="joint",
                num_heads=HEADS,
                queries=both,
                keys=both,
                head_dim=WIDTH // HEADS,
            )
            for index in range(len(self.model.blocks))
        )

    def sequence(self, request: Request, branch: str) -> TokenSequence:
        """Return what a branch reads: `uncond` the negative prompt."""
        tokens, cut = read(request.negative or "" if branch == "uncond" else request.prompt)
        return TokenSequence(segments(request), tokens, {"prompt": cut} if cut else {})

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], on_call: OnCall | None) -> list[Output]:
        """Go from noise to data in equal steps; see `Session.generate`."""
        first, branches = requests[0], self.branches(requests[0])
        samples = [(request, image) for request in requests for image in range(request.images)]
        rows = tuple((branch, sample) for branch in branches for sample in range(len(samples)))
        ids = [self.ids(samples[sample][0], branch) for branch, sample in rows]
        text = torch.tensor(ids, device=self.model.order.weight.device)
        latents = torch.stack([draw(*sample) for sample in samples]).to(self.model.order.weight)
        steps = first.steps or 1
        for step in range(steps):
            noise = 1 - step / steps
            if on_call is not None:
                on_call(Call("denoiser", step, 1000 * noise, noise, rows))
            velocity = self.model(latents.repeat(len(branches), 1, 1, 1), text, noise)
            guided, *others = velocity.chunk(len(branches))
            for uncond in others:
                guided = uncond + (first.guidance or 1) * (guided - uncond)
            latents = latents - guided / steps
        pictures = [picture(one) for one in latents]
        count = first.images
        starts = range(0, len(pictures), count)
        return [Output(tuple(pictures[start : start + count])) for start in starts]

    def ids(self, request: Request, branch: str) -> list[int]:
        """Return the ids that one row of the batch reads."""
        return [token.id for token in self.sequence(request, branch).tokens]

    def check(self) -> None:
        """Refuse a model that was opened to plan only."""
        if any(parameter.is_meta for parameter in self.model.parameters()):
            raise CaptureError("this toy has no weights; open it with weights=True")


def grid(request: Request) -> Grid:
    """Return rows and columns of the picture, in tokens."""
    return (request.height or 0) // PATCH, (request.width or 0) // PATCH


def segments(request: Request) -> tuple[Segment, ...]:
    """Return the sequence's spans: LENGTH positions of text, then the picture row by row."""
    rows, columns = grid(request)
    return (
        Segment("prompt", "text", 0, LENGTH),
        Segment("image", "image", LENGTH, LENGTH + rows * columns, (rows, columns)),
    )


def draw(request: Request, image: int) -> Tensor:
    """Return the noise that one picture begins with; the seed alone decides."""
    generator = torch.Generator().manual_seed(image_seed(request.seed, image))
    return torch.randn(3, *grid(request), generator=generator)


def picture(latents: Tensor) -> Image.Image:
    """Return red, green and blue, PATCH pixels per token and side."""
    pixels = (latents.float().sigmoid() * 255).round().to(torch.uint8)
    large = pixels.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)
    return Image.fromarray(large.permute(1, 2, 0).cpu().numpy())
