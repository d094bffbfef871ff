"""Train a demo model, from nothing to the weights that ship.

    python -m benchmarks.demo.train_demo sdxl|sd35-words|sd35|sd35-medium|gated --out DIR
                                    [--minutes 100] [--steps N] [--vae-steps N]

Run the same command again after a stop or a crash, and it goes on from the last checkpoint. DIR
then holds, per stage, the checkpoint, the losses and their curve, and sheets of pictures; at the
end `weights/`, to be copied to `attn/demo/weights/`, and `model/`, a folder for diffusers; of
`gated` one of files as sd-scripts saves them.

All models share the VAE that is trained with sdxl: the others take the shipped one, or, before
there is one, train the same again. sd35-words makes the text encoders of sd35, with a transformer
that is thrown away; sd35 learns with them as they ship; sd35-medium and gated go on from the
shipped sd35, and of their transformers `weights/` holds only what is new. What they share lies in
their `weights/` too, and need not be copied.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file, save_model

from attn.demo import shipped, trained
from benchmarks.training import denoiser, gated, sd35, sdxl, vae
from benchmarks.training.loop import train

FAMILIES = {
    family.name: family for family in (sdxl.FAMILY, sd35.LARGE, sd35.MEDIUM, gated.HEADWISE)
}
RECIPES = FAMILIES | {"sd35-words": sd35.WORDS}


def main() -> None:
    """Read the command line, train, and write the weights."""
    arguments = _parse()
    deadline = time.monotonic() + 60 * arguments.minutes
    torch.set_num_threads(1)  # the loop has a thread per core already
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    family = RECIPES[arguments.name]
    if family is not sdxl.FAMILY:
        take_shared(family, arguments.out)
    finished = train_vae(arguments.out, arguments.vae_steps, device, deadline)
    steps = arguments.steps or family.steps
    if not (finished and train_denoiser(family, arguments.out, steps, device, deadline)):
        print("time is up; run the same command again to go on")
        return
    print(f"done: {arguments.out / 'weights'}")
    if family is not sd35.WORDS:
        trained.save(family.name, arguments.out / "model", weights=arguments.out / "weights")
        if family.learns:
            drop_known(family, arguments.out / "weights")
        print(f"done: {arguments.out / 'model'}")


def take_shared(family: denoiser.Family, out: Path) -> None:
    """Copy what is not trained from shipped models to where it would lie, unless it does."""
    for component in {"vae", *sd35.ENCODERS} - set(family.models):
        path = out / "weights" / f"{component}.safetensors"
        source = shipped.weight_file(shipped.WEIGHTS / family.name, component)
        if source.exists() and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, path.with_suffix(".partial"))
            path.with_suffix(".partial").replace(path)


def train_vae(out: Path, steps: int, device: torch.device, deadline: float) -> bool:
    """Train the VAE and write its weights; returns whether it is complete."""
    path = out / "weights" / "vae.safetensors"
    if path.exists():
        return True
    model, average = vae.build().to(device), vae.build().to(device)
    finished = train(vae.stage(model, average, steps=steps), out / "vae", deadline=deadline)
    if finished:
        latents, _ = denoiser.encode_scenes(average, 2000, denoiser.draw_scene)
        vae.normalize(average, latents / average.config.scaling_factor)
        export({"vae": average}, path.parent)
    return finished


def train_denoiser(
    family: denoiser.Family, out: Path, steps: int, device: torch.device, deadline: float
) -> bool:
    """Train denoiser and text encoders, write their weights; returns whether they are complete."""
    autoencoder = _load_vae(out / "weights" / "vae.safetensors").to(device)
    pipeline, average = denoiser.build(family, autoencoder), denoiser.build(family, autoencoder)
    path = out / "examples.safetensors"
    examples = denoiser.prepare(family, pipeline, path, number=denoiser.EXAMPLES)
    stage = denoiser.stage(family, pipeline, average, examples, steps=steps)
    finished = train(stage, out / "denoiser", deadline=deadline)
    if finished:
        export(stage.averages, out / "weights")
    return finished


def export(models: Mapping[str, torch.nn.Module], folder: Path) -> None:
    """Write `<model>.safetensors` in float16 for each model, and gates to a file of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in models.items():
        twin = deepcopy(model).half()
        gates = gated.take_out(twin)
        if gates:
            save_file(gates, folder / trained.GATES)
        save_model(twin, str(folder / f"{name}.safetensors"))


def drop_known(family: denoiser.Family, folder: Path) -> None:
    """Drop weights of the denoiser that are those of the model that it goes on from."""
    name = f"{family.models[0]}.safetensors"
    known = load_file(shipped.WEIGHTS / shipped.BASES[family.name] / name)
    own = load_file(folder / name)
    new = {
        key: tensor
        for key, tensor in own.items()
        if key not in known or not torch.equal(tensor, known[key])
    }
    save_file(new, folder / name)


def _load_vae(path: Path) -> AutoencoderKL:
    autoencoder = vae.build()
    autoencoder.load_state_dict(load_file(path))
    return autoencoder.requires_grad_(False)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--steps", type=int, help="of the denoiser")
    parser.add_argument("--vae-steps", type=int, default=vae.STEPS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
