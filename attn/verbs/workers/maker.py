"""In a worker: a model that stays loaded, and batches that are made with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from attn.backends import find
from attn.backends.plugins.guard import guarded
from attn.engine.refuse import refuse_unobservable
from attn.errors import AttnError, ModelError, TraceError
from attn.verbs.capture.families import backend_options
from attn.verbs.capture.generation import Progress, make_batch
from attn.verbs.capture.jobs import plan_job
from attn.verbs.report import Report
from attn.verbs.workers.work import BatchAnswer, BatchMembers, RunRecipe


class _WarningsKept(Report):
    """Keeps each warning with the trace that it is about."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str]] = []

    def warn(self, text: str, about: str = "") -> None:
        """Take a warning."""
        self.told.append((text, about))


class Maker:
    """Makes batches of one run."""

    def __init__(self, recipe: RunRecipe) -> None:
        """Open the model.

        Raises:
            AttnError: it cannot be opened here, or the family is not installed.
        """
        self._recipe = recipe
        family = guarded(find(recipe.backend))
        options = backend_options(family.Options, recipe.backend, recipe.settings)
        self._session = family.open(recipe.model, options, recipe.placement)
        self._session.check()
        for name, tower in self._session.towers().items():
            refuse_unobservable(tower, name)

    def make(self, members: BatchMembers) -> BatchAnswer:
        """Make the missing traces of a batch; whatever fails is in the answer."""
        recipe, report, errors = self._recipe, _WarningsKept(), dict[int, str | None]()
        try:
            job = plan_job(
                recipe.backend,
                self._session,
                [member.request for member in members],
                recipe.keep,
                Path(members[0].folder).parent,
                len(members),
                report,
            )
            items = tuple(
                replace(
                    item,
                    index=members[item.index].index,
                    folder=Path(members[item.index].folder),
                )
                for item in job.items
            )
            missing = tuple(
                item for item, member in zip(items, members, strict=True) if member.is_missing
            )
            job = replace(job, items=items, is_collection=True)
            steps = sum(item.plan.steps for item in missing)
            for done in make_batch(job, items, missing, Progress(report, steps)):
                errors |= done
        except (ModelError, TraceError) as error:
            return BatchAnswer(errors, tuple(report.told), str(error))
        except AttnError as error:
            errors |= {
                member.index: str(error)
                for member in members
                if member.is_missing and member.index not in errors
            }
        return BatchAnswer(errors, tuple(report.told))
