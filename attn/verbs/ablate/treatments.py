"""What is changed of the model while a batch of a capture runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from attn.backends import Session
from attn.errors import RequestError
from attn.schema import SWAPS, Request

if TYPE_CHECKING:
    from attn.engine.interventions.resolve import RequestLayout
    from attn.engine.interventions.treatment import Treatment


def make_treatment(session: Session, requests: Sequence[Request]) -> Treatment | None:
    """Return what the interventions of completed requests, the same of all, do to their batch.

    Raises:
        RequestError: one matches nothing, or hides all keys of a layer; or two swap.
    """
    from attn.engine.interventions.swaps import SwapSource
    from attn.engine.interventions.treatment import Treatment

    first = requests[0]
    if not first.interventions:
        return None
    layouts = _lay_out(session, requests)
    prompts = [of.source for of in first.interventions if of.act in SWAPS]
    if len(prompts) > 1:
        raise RequestError(
            "cut: one swap at a time; make several captures, or name all keys in one"
        )
    if not prompts:
        return Treatment(first.interventions, layouts, first.images)
    others = [
        session.complete(replace(request, prompt=prompts[0], emphasis=(), interventions=()))
        for request in requests
    ]
    source = SwapSource(_lay_out(session, others), partial(session.generate, others))
    return Treatment(first.interventions, layouts, first.images, source)


def _lay_out(session: Session, requests: Sequence[Request]) -> list[RequestLayout]:
    from attn.engine.interventions.resolve import RequestLayout
    from attn.engine.interventions.targets import BranchText

    return [
        RequestLayout(
            tuple(session.layers(request)),
            {
                branch: BranchText(request.prompt_of(branch), session.sequence(request, branch))
                for branch in session.branches(request)
            },
            request.seed,
            is_causal=bool(session.spans(request)),
        )
        for request in requests
    ]
