"""A toy diffusion model of two towers, small and irregular: no two sizes are equal.

Its attention is real; only its weights are random. Joint sequences are text first. One layer has
grouped queries, one an additive mask, and the second tower works on a coarser grid.
"""
# ruff: noqa: TID253 - imported with its backend

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, scaled_dot_product_attention

CHANNELS = 3
WIDTH = 23
TEXT_LENGTH = 17
VOCABULARY = 211
HEAD_DIM = 7
LOGIT_GAIN = 2.0
"""On the projections to queries and keys, so that attention is neither flat nor a single spike."""


class ToyAttention(nn.Module):
    """Attention of one sequence to another; fewer key heads than heads group the queries."""

    def __init__(self, num_heads: int, num_key_heads: int | None = None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_key_heads = num_key_heads or num_heads
        self.to_query = nn.Linear(WIDTH, num_heads * HEAD_DIM, bias=False)
        self.to_key = nn.Linear(WIDTH, self.num_key_heads * HEAD_DIM, bias=False)
        self.to_value = nn.Linear(WIDTH, self.num_key_heads * HEAD_DIM, bias=False)
        self.to_out = nn.Linear(num_heads * HEAD_DIM, WIDTH)
        with torch.no_grad():
            self.to_query.weight *= LOGIT_GAIN
            self.to_key.weight *= LOGIT_GAIN

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend from `queries` to `keys`, (batch, position, WIDTH) both."""
        mixed = scaled_dot_product_attention(
            _split(self.to_query(queries), self.num_heads),
            _split(self.to_key(keys), self.num_key_heads),
            _split(self.to_value(keys), self.num_key_heads),
            attn_mask=mask,
            enable_gqa=self.num_key_heads != self.num_heads,
        )
        out: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return out


class JointBlock(nn.Module):
    """Text and image attend to one sequence, text first."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.attend = ToyAttention(num_heads=3)

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return image and text, each changed by both."""
        both = self.norm(torch.cat([text, image], dim=1))
        change = self.attend(both, both)
        return image + change[:, text.shape[1] :], text + change[:, : text.shape[1]]


class SelfBlock(nn.Module):
    """The image attends to itself."""

    def __init__(self, num_heads: int, num_key_heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.attend = ToyAttention(num_heads, num_key_heads)

    def forward(self, image: Tensor) -> Tensor:
        """Return the changed image."""
        normed = self.norm(image)
        changed: Tensor = image + self.attend(normed, normed)
        return changed


class CrossBlock(nn.Module):
    """The image attends to the text, of which an additive mask may hide positions."""

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.attend = ToyAttention(num_heads)

    def forward(self, image: Tensor, text: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the changed image."""
        changed: Tensor = image + self.attend(self.norm(image), text, mask)
        return changed


class ToyDenoiser(nn.Module):
    """Three blocks: joint, self with grouped queries, cross with a mask over the padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = ToyEmbedding()
        self.blocks = nn.ModuleList([JointBlock(), SelfBlock(6, 2), CrossBlock(5)])
        self.unembed = nn.Linear(WIDTH, CHANNELS)

    def forward(
        self,
        latents: Tensor,
        text: Tensor,
        padding: Tensor,
        noise: float,
        hint: Tensor,
        skip: tuple[int, ...] = (),
    ) -> Tensor:
        """Return the velocity from data to noise, (batch, channel, row, column).

        Args:
            latents: noisy image.
            text: (batch, position, WIDTH).
            padding: (batch, position), where the text is padding.
            noise: share of noise, 0 to 1.
            hint: what the other tower says, added to the image.
            skip: blocks that are left out.
        """
        image = self.embed(latents, noise) + hint
        if 0 not in skip:
            image, text = self.blocks[0](image, text)
        if 1 not in skip:
            image = self.blocks[1](image)
        if 2 not in skip:  # noqa: PLR2004 - the third block
            mask = torch.zeros_like(padding, dtype=image.dtype)
            mask = mask.masked_fill(padding, torch.finfo(image.dtype).min)
            image = self.blocks[2](image, text, mask[:, None, None])
        velocity: Tensor = self.unembed(image)
        return velocity.mT.reshape(latents.shape)


class ToyControlNet(nn.Module):
    """A second tower on half the rows and columns, rounded up: cross, then self-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = ToyEmbedding()
        self.read = CrossBlock(2)
        self.think = SelfBlock(4, 4)

    def forward(self, latents: Tensor, text: Tensor, noise: float) -> Tensor:
        """Return the hint, (batch, row · column, WIDTH) of the full grid."""
        rows, columns = latents.shape[2:]
        coarse = avg_pool2d(latents, 2, ceil_mode=True)
        image: Tensor = self.think(self.read(self.embed(coarse, noise), text))
        image = image.mT.reshape(len(image), WIDTH, *coarse.shape[2:])
        fine = image.repeat_interleave(2, 2)[:, :, :rows].repeat_interleave(2, 3)[..., :columns]
        return fine.flatten(2).mT


class ToyEmbedding(nn.Module):
    """Latents as a sequence that knows its place and the noise level."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(CHANNELS, WIDTH)
        self.place = nn.Linear(2, WIDTH)
        self.noise = nn.Linear(1, WIDTH)

    def forward(self, latents: Tensor, noise: float) -> Tensor:
        """Return (batch, row · column, WIDTH)."""
        rows, columns = latents.shape[2:]
        grid = torch.cartesian_prod(torch.linspace(-2, 2, rows), torch.linspace(-2, 2, columns))
        image = self.project(latents.flatten(2).mT) + self.place(grid.to(latents))
        placed: Tensor = image + self.noise(latents.new_tensor([noise]))
        return placed


class ToyText(nn.Module):
    """Token ids to vectors that know their place."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Embedding(VOCABULARY, WIDTH)
        self.place = nn.Embedding(TEXT_LENGTH, WIDTH)

    def forward(self, ids: Tensor) -> Tensor:
        """Return (batch, position, WIDTH)."""
        vectors: Tensor = self.token(ids) + 0.5 * self.place.weight
        return vectors


class ToyModel(nn.Module):
    """Everything with weights; the same seed gives the same weights."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # unlike torch.manual_seed, leaves GPUs alone
            self.text = ToyText()
            self.controlnet = ToyControlNet()
            self.denoiser = ToyDenoiser()


def _split(states: Tensor, num_heads: int) -> Tensor:
    split: Tensor = states.unflatten(-1, (num_heads, HEAD_DIM)).transpose(1, 2)
    return split
