"""In a worker: a model that stays loaded, and batches that are made with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from attn.backends import find
from attn.backends.plugins.guard import guarded
from attn.engine.refuse import refuse_unobservable
from attn.errors import AttnError, ModelError, TraceError
from attn.files.disk import as_utf8
from attn.verbs.capture.families import backend_options
from attn.verbs.capture.generation import Progress, in_words, is_complete, make_batch
from attn.verbs.capture.jobs import WantedRun, plan_job
from attn.verbs.report import Report
from attn.verbs.workers.work import (
    BatchAnswer,
    BatchMembers,
    ReadRecipe,
    RunRecipe,
    WorkerRecipe,
)


class _WarningsKept(Report):
    """Keeps each warning with the trace that it is about."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str]] = []

    def warn(self, text: str, about: str = "") -> None:
        """Take a warning."""
        self.told.append((text, about))


def open_maker(recipe: WorkerRecipe) -> Maker | TraceReader | BatchAnswer:
    """Open the model of a run, or a run to be looked at; or answer why it cannot be had here."""
    try:
        if recipe.run is not None:
            return Maker(recipe.run)
        if recipe.reads is not None:
            return TraceReader(recipe.reads)
    except Exception as error:  # noqa: BLE001 - of a family or of what it needs
        return BatchAnswer(ended=as_utf8(in_words(error)))
    return BatchAnswer(ended="a recipe of another version of attn")


class TraceReader:
    """Looks at traces, one by one, and keeps what is to be put together as pieces."""

    def __init__(self, recipe: ReadRecipe) -> None:
        """Read the options.

        Raises:
            AttnError: they are not usable here.
        """
        self._report = _WarningsKept()
        verb = import_module(f"attn.verbs.{recipe.verb}.pieces")
        self._look: Callable[[int], object] = verb.open_look(recipe, self._report)

    def make(self, members: BatchMembers) -> BatchAnswer:
        """Look at traces; what is wrong with one is told by whoever puts them together."""
        errors = dict[int, str | None]()
        for member in members:
            try:
                self._look(member.index)
            except AttnError:
                errors[member.index] = None
            except Exception as error:  # noqa: BLE001 - it costs this trace only
                errors[member.index] = as_utf8(in_words(error))
            else:
                errors[member.index] = None
        told, self._report.told = tuple(self._report.told), []
        return BatchAnswer(errors, told)


class Maker:
    """Makes batches of one run."""

    def __init__(self, recipe: RunRecipe) -> None:
        """Open the model.

        Raises:
            AttnError: it cannot be opened here, or the family is not installed.
        """
        import torch

        torch.set_num_threads(recipe.threads)
        self._recipe = recipe
        family = guarded(find(recipe.backend))
        options = backend_options(family.Options, recipe.backend, recipe.settings)
        self._session = family.open(recipe.model, options, recipe.placement)
        self._session.check()
        for name, tower in self._session.towers().items():
            refuse_unobservable(tower, name)

    def make(self, members: BatchMembers) -> BatchAnswer:
        """Make the missing traces of a batch; whatever fails is in the answer.

        Of a batch that is made again a trace may be whole: its worker was lost before it told.
        """
        is_made = {
            member.index
            for member in members
            if member.is_missing and is_complete(Path(member.folder))
        }
        report, errors = _WarningsKept(), dict[int, str | None].fromkeys(is_made)
        left = tuple(
            replace(member, is_missing=member.is_missing and member.index not in is_made)
            for member in members
        )
        ended = None
        try:
            if any(member.is_missing for member in left):
                for done in self._generate(left, report):
                    errors |= done
        except (ModelError, TraceError) as error:
            ended = str(error)
        except Exception as error:  # noqa: BLE001 - of a family; it costs these traces only
            told = as_utf8(in_words(error))
            errors = {member.index: told for member in left if member.is_missing} | errors
        return BatchAnswer(errors, tuple(report.told), ended)

    def _generate(self, members: BatchMembers, report: Report) -> Iterator[dict[int, str | None]]:
        """Plan a batch as the driver did, and generate it; yield as `make_batch` does."""
        recipe = self._recipe
        wishes = [member.request for member in members if member.request is not None]
        folder = Path(members[0].folder).parent
        wanted = WantedRun(wishes, recipe.keep, folder, len(members))
        job = plan_job(recipe.backend, self._session, wanted, report)
        items = tuple(
            replace(item, index=members[item.index].index, folder=Path(members[item.index].folder))
            for item in job.items
        )
        missing = tuple(
            item for item, member in zip(items, members, strict=True) if member.is_missing
        )
        job = replace(job, items=items, is_collection=True)
        steps = sum(item.plan.steps for item in missing)
        yield from make_batch(job, items, missing, Progress(report, steps))
