"""First stage: the VAE that shrinks pictures of scenes to latents."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from attn.demo import rendering, scenes, shapes_networks
from benchmarks.training.loop import Stage
from benchmarks.training.report import draw_sheet

STEPS = 4000
BATCH = 8
RATE = 3e-3
OBJECT_WEIGHT = 6.0
"""Added to the weight 1 of an object's pixels: without it, rare hues are the last to be learned."""
KL_WEIGHT = 1e-3


def stage(vae: AutoencoderKL, average: AutoencoderKL, *, steps: int) -> Stage:
    """Describe the training of `vae`."""
    return Stage(
        name="vae",
        models={"vae": vae},
        averages={"vae": average},
        loss=partial(loss, vae),
        show=partial(show, average),
        steps=steps,
        batch=BATCH,
        rate=RATE,
        show_every=500,
    )


def build() -> AutoencoderKL:
    """Random weights in the memory format that convolutions like best."""
    torch.manual_seed(0)
    return shapes_networks.vae().to(memory_format=torch.channels_last)


def loss(vae: AutoencoderKL, rng: np.random.Generator, number: int) -> torch.Tensor:
    """Weighted error of the reconstruction plus divergence, for scenes drawn at random."""
    drawn = [scenes.sample(rng, training=True) for _ in range(number)]
    size = vae.config.sample_size
    pictures = to_tensor([rendering.render(scene, size) for scene in drawn], vae)
    objects = np.stack([~rendering.masks(scene, size)[-1:] for scene in drawn])
    weight = 1 + OBJECT_WEIGHT * torch.from_numpy(objects).to(pictures)
    posterior = vae.encode(pictures).latent_dist
    noise = rng.standard_normal(posterior.mean.shape, dtype=np.float32)
    latents = posterior.mean + posterior.std * torch.from_numpy(noise).to(pictures)
    error = vae.decode(latents).sample - pictures
    divergence = posterior.kl().mean() / latents[0].numel()
    return (weight * (error.abs() + error.square())).mean() + KL_WEIGHT * divergence


@torch.no_grad()
def show(vae: AutoencoderKL, path: Path) -> None:
    """Draw scenes of every colour on every background above their reconstructions."""
    rng = np.random.default_rng(0)
    size = vae.config.sample_size
    pictures, titles = [], []
    for background in scenes.BACKGROUNDS:
        drawn = [
            rendering.render(_example(color, background, rng), size) for color in scenes.COLORS
        ]
        decoded = vae.decode(vae.encode(to_tensor(drawn, vae)).latent_dist.mean).sample
        pictures += [*drawn, *to_pictures(decoded)]
        titles += ["drawn"] * len(drawn) + ["decoded"] * len(drawn)
    draw_sheet(pictures, titles, path, columns=len(scenes.COLORS))


@torch.no_grad()
def normalize(vae: AutoencoderKL, latents: torch.Tensor) -> None:
    """Give latents zero mean and, after the scaling factor, unit variance per channel.

    The two 1 x 1 convolutions around the latents absorb the change, so the published scaling
    factor stays right and pictures stay the same.

    Args:
        vae: changed in place.
        latents: what it makes of many pictures, unscaled, (picture, channel, row, column).
    """
    mean = latents.mean((0, 2, 3))
    scale = 1 / (latents.std((0, 2, 3)) * vae.config.scaling_factor)
    before, after = vae.quant_conv, vae.post_quant_conv
    channels = len(mean)
    before.bias[:channels] -= mean
    before.weight[:channels] *= scale[:, None, None, None]
    before.bias[:channels] *= scale
    before.bias[channels:] += 2 * scale.log()
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight /= scale[None, :, None, None]


def to_tensor(pictures: list[np.ndarray], model: torch.nn.Module) -> torch.Tensor:
    """Turn RGB pictures, uint8, into one batch from -1 to 1 where `model` is."""
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return stacked.to(next(model.parameters())) / 127.5 - 1


def to_pictures(batch: torch.Tensor) -> list[np.ndarray]:
    """Turn a batch from -1 to 1 into RGB pictures, uint8."""
    bytes_ = ((batch.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return list(bytes_.permute(0, 2, 3, 1).cpu().numpy())


def _example(color: str, background: str, rng: np.random.Generator) -> scenes.Scene:
    shape, other_shape = rng.choice(scenes.SHAPES, size=2, replace=False)
    other = rng.choice([name for name in scenes.COLORS if name != color])
    kinds = (scenes.ObjectKind(color, str(shape)), scenes.ObjectKind(str(other), str(other_shape)))
    return scenes.arrange(scenes.Content(kinds, str(rng.choice(scenes.RELATIONS)), background), rng)
