"""What is changed of the model while a batch of a capture runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attn.backends import Session
from attn.schema import Request

if TYPE_CHECKING:
    from attn.engine.interventions.treatment import Treatment


def make_treatment(session: Session, requests: Sequence[Request]) -> Treatment | None:
    """Return what the interventions of completed requests, the same of all, do to their batch.

    Raises:
        RequestError: one matches nothing, or hides all keys of a layer.
    """
    from attn.engine.interventions.resolve import RequestLayout
    from attn.engine.interventions.targets import BranchText
    from attn.engine.interventions.treatment import Treatment

    first = requests[0]
    if not first.interventions:
        return None
    layouts = [
        RequestLayout(
            tuple(session.layers(request)),
            {
                branch: BranchText(request.prompt_of(branch), session.sequence(request, branch))
                for branch in session.branches(request)
            },
            request.seed,
        )
        for request in requests
    ]
    return Treatment(first.interventions, layouts, first.images)
