"""How long `attn --help`, `attn backends` and `attn lora` take, with plugins of others installed.

    python -m benchmarks.start [--plugins 10] [--rounds 9]

The wheel and copies of `examples/attn-toy`, each a package and a backend of its own, are installed
into an empty environment; every round starts each command once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from tests.helpers.installing import ROOT, Environment, make_environment, pip

COMMANDS = (("attn", "--help"), ("attn", "backends"), ("attn", "lora", "demo"))


def main() -> None:
    """Print the fastest and the median times of every command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plugins", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        environment = install(Path(scratch), arguments.plugins)
        listed = environment.run("attn", "backends").count(" attn-toy-")
        times: dict[tuple[str, ...], list[tuple[float, float]]] = {item: [] for item in COMMANDS}
        for _ in range(arguments.rounds):
            for command, taken in times.items():
                taken.append(measure(environment, command))
    print(f"{listed} plugins, {arguments.rounds} rounds")
    for command, taken in times.items():
        for what, values in zip(("elapsed", "processor"), zip(*taken, strict=True), strict=True):
            numbers = f"fastest {min(values):.3f} s  median {statistics.median(values):.3f} s"
            print(f"{' '.join(command):14}  {what:9}  {numbers}")


def measure(environment: Environment, command: tuple[str, ...]) -> tuple[float, float]:
    """Return the time that went by, and that of the processor, which a busy machine spoils less."""
    before, began = os.times(), time.perf_counter()
    environment.run(*command)
    after = os.times()
    used = after.children_user + after.children_system
    used -= before.children_user + before.children_system
    return time.perf_counter() - began, used


def install(folder: Path, number: int) -> Environment:
    """Return an environment with the wheel and so many plugins."""
    pip("wheel", "--wheel-dir", str(folder), str(ROOT))
    packages = [clone(folder, index) for index in range(number)]
    environment = make_environment(folder / "environment")
    environment.install(next(folder.glob("attn-*.whl")), *packages)
    return environment


def clone(folder: Path, index: int) -> Path:
    """Write a copy of attn-toy under another name."""
    module, target = f"attn_toy_{index}", folder / f"attn-toy-{index}"
    toy = ROOT / "examples" / "attn-toy"
    for path in (toy / "pyproject.toml", *(toy / "src").rglob("*.py")):
        text = path.read_text(encoding="utf-8").replace("attn_toy", module)
        text = text.replace('name="toy"', f'name="toy-{index}"').replace("attn-toy", target.name)
        there = target / str(path.relative_to(toy)).replace("attn_toy", module)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text, encoding="utf-8")
    return target


if __name__ == "__main__":
    main()
