"""The model: blocks of attention in which text and picture are one sequence, text first."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

WIDTH, HEADS = 24, 3
VOCABULARY, LENGTH = 101, 13  # of the text
PATCH = 8  # pixels that one token of the picture stands for, per side


class Attention(nn.Module):
    """Multi-head attention of a sequence to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.to_qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.to_out = nn.Linear(WIDTH, WIDTH)

    def forward(self, states: Tensor) -> Tensor:
        """Take and return (batch, position, WIDTH)."""
        split = self.to_qkv(states).unflatten(-1, (3, HEADS, WIDTH // HEADS))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value)
        out: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return out


class Model(nn.Module):
    """Predicts the velocity from data to noise."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.text = nn.Embedding(VOCABULARY, WIDTH)
        self.order = nn.Embedding(LENGTH, WIDTH)
        self.image = nn.Linear(6, WIDTH)  # red, green, blue, row, column, noise
        self.blocks = nn.ModuleList(Attention() for _ in range(blocks))
        self.velocity = nn.Linear(WIDTH, 3)

    def forward(self, latents: Tensor, ids: Tensor, noise: float) -> Tensor:
        """Take latents (batch, 3, row, column) and ids (batch, LENGTH); return the velocity."""
        rows, columns = latents.shape[2:]
        down, right = torch.linspace(-2, 2, rows), torch.linspace(-2, 2, columns)
        ramps = torch.meshgrid(down, right, indexing="ij")
        place = torch.stack([*ramps, torch.full((rows, columns), noise)]).to(latents)
        seen = torch.cat([latents, place.expand(len(latents), -1, -1, -1)], dim=1)
        image = self.image(seen.flatten(2).mT)
        states = torch.cat([self.text(ids) + self.order.weight, image], dim=1)
        for block in self.blocks:
            states = states + block(states)
        velocity: Tensor = self.velocity(states[:, LENGTH:])
        return velocity.mT.reshape(latents.shape)
