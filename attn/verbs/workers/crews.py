"""The crew that the options of a verb ask for, and a run made by it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack

from attn.backends.types import Placement
from attn.errors import UsageError
from attn.verbs.capture.generation import Batches, Progress
from attn.verbs.capture.jobs import Job
from attn.verbs.capture.options import GenerationOptions
from attn.verbs.workers.drive import Crew, drive
from attn.verbs.workers.work import RunRecipe, WorkerRecipe, describe_batch


def wants_crew(options: GenerationOptions) -> bool:
    """Whether other processes than this one make the traces."""
    several = options.workers is not None or len(options.devices) > 1
    return (several or options.engine == "ray") and not options.dry_run


def require_plain(model: object) -> str:
    """Return the model as text that a worker can open too.

    Raises:
        UsageError: it is loaded in this process.
    """
    if isinstance(model, str):
        return model
    try:
        return os.fspath(model)  # type: ignore[call-overload, no-any-return]
    except TypeError:
        raise UsageError(
            "workers open the model themselves: give a folder, a file, a hub id or demo, not a "
            "pipeline that is loaded here"
        ) from None


class KeptCrew:
    """The workers of several captures, one after the other, which load the model once."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._recipe: RunRecipe | None = None
        self._crew: Crew | None = None

    def open(self, options: GenerationOptions, recipe: RunRecipe) -> Crew:
        """Return the workers that there are, if they have what a run needs; else others.

        Raises:
            AttnError: none can be had.
        """
        if self._crew is None or recipe != self._recipe:
            self._stack.close()
            self._crew = self._stack.enter_context(start_crew(options, recipe))
            self._recipe = recipe
        return self._crew

    def close(self) -> None:
        """End the workers."""
        self._stack.close()
        self._crew = None


def describe_recipe(
    options: GenerationOptions, backend: str, settings: Mapping[str, str], model: object
) -> RunRecipe:
    """Return what workers need to know of a run.

    Raises:
        UsageError: the model is one that they cannot open.
    """
    import torch

    device = options.devices[0] if len(options.devices) == 1 else "auto"
    placement = Placement(device, options.dtype, options.offload)
    return RunRecipe(
        backend,
        dict(settings),
        require_plain(model),
        placement,
        options.wanted,
        torch.get_num_threads(),
    )


def start_crew(options: GenerationOptions, recipe: RunRecipe) -> AbstractContextManager[Crew]:
    """Start the workers that options ask for.

    Raises:
        AttnError: none can be had.
    """
    devices = options.devices if len(options.devices) > 1 else ()
    if options.engine == "ray":
        from attn.verbs.workers.cluster import RayCrew

        return RayCrew(WorkerRecipe(recipe), options.workers, options.gpus_per_worker)
    from attn.backends.loading.devices import check_devices
    from attn.verbs.workers.local import LocalCrew

    check_devices(devices)
    return LocalCrew(WorkerRecipe(recipe), options.workers or len(devices), devices)


def make_with(
    crew: Crew, job: Job, batches: Batches, progress: Progress
) -> Iterator[dict[int, str | None]]:
    """Have batches made by a crew; yield as `generation.make_batch` does."""
    items = {item.index: item for item in job.items}
    for answer in drive(crew, [describe_batch(*of) for of in batches]):
        for text, about in answer.warnings:
            is_shared = text in job.opening
            job.report.warn(text, "" if is_shared else about)
        for index in answer.errors:
            for _ in range(items[index].plan.steps):
                progress.step([items[index]])
        if answer.errors:
            yield dict(answer.errors)
