"""What is kept of each trace of a run, decided before any forward."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

from attn.backends import Session
from attn.engine.concepts.plans import with_concepts
from attn.engine.layer_plans import BlockPlan
from attn.engine.plan import Keep, Plan, make_plan
from attn.errors import RequestError
from attn.schema import Layer, Request, Segment
from attn.schema import Sequence as TokenSequence
from attn.verbs.ablate.treatments import make_treatment

STORED = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}

PlannedTrace = tuple[Request, Plan, tuple[str, ...]]
"""A completed request, what is kept of it, and what the user should know."""


class Planner:
    """Plans the traces of a run; what they have in common is there once.

    Traces that differ in their seeds are planned once. Plans depend on how many words there are,
    not on which: all traces whose sequences are laid out alike have the same plan.
    """

    def __init__(self, session: Session, keep: Keep) -> None:
        self._session, self._keep = session, keep
        self._layers: dict[tuple[Segment, ...], Sequence[Layer]] = {}
        self._plans: dict[Hashable, Plan] = {}
        self._places: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self._prompts: dict[Hashable, PlannedTrace | RequestError] = {}

    def plan(self, wish: Request) -> PlannedTrace:
        """Plan a trace.

        Raises:
            RequestError: the model cannot do it, or what is to be kept does not exist.
        """
        key = wish.prompt, wish.emphasis
        if key not in self._prompts:
            self._prompts[key] = self._try(wish)
        planned = self._prompts[key]
        if isinstance(planned, RequestError):
            raise planned.with_traceback(None)  # which would grow with every trace
        request, plan, warnings = planned
        if request.seed != wish.seed:
            request = replace(request, seed=wish.seed)
        make_treatment(self._session, [request])  # raises what is wrong with a cut
        return request, plan, warnings

    def plan_first(self, wishes: Sequence[Request]) -> tuple[Request, Plan]:
        """Return the first request that the model does not refuse, and what is kept of it.

        Raises:
            RequestError: it refuses all; why the first.
        """
        refused: RequestError | None = None
        for wish in wishes:
            try:
                request, plan, _ = self.plan(wish)
            except RequestError as error:
                refused = refused or error
            else:
                return request, plan
        raise refused or RequestError("nothing is asked for")

    def _try(self, wish: Request) -> PlannedTrace | RequestError:
        try:
            request = self._session.complete(wish)
            plan = self._plan(request)
        except RequestError as error:
            return error
        return request, plan, (*self._session.warnings, *self._session.remarks(wish, request))

    def _plan(self, request: Request) -> Plan:
        session = self._session
        sequences = {
            branch: session.sequence(request, branch) for branch in session.branches(request)
        }
        key = request.images, request.steps, *map(_layout, sequences.values()), *sequences
        if key not in self._plans:
            segments = next(iter(sequences.values())).segments
            if segments not in self._layers:
                self._layers[segments] = session.layers(request)
            plan = make_plan(
                self._layers[segments],
                sequences,
                self._keep,
                samples=request.images,
                steps=request.steps or 0,
                dtype=STORED.get(session.info.dtype, "F32"),
                spans=session.spans(request),
            )
            if request.concepts:
                lengths = session.concept_lengths(request)
                plan = with_concepts(plan, session.concept_modules(request), lengths)
            self._plans[key] = self._share(plan)
        return self._plans[key]

    def _share(self, plan: Plan) -> Plan:
        """Let plans have their long lists of positions in common."""

        def shared(block: BlockPlan) -> BlockPlan:
            queries, keys, groups = (
                self._places.setdefault(value, value)
                for value in (block.queries, block.keys, block.groups)
            )
            return replace(block, queries=queries, keys=keys, groups=groups)

        layers = (replace(entry, blocks=tuple(map(shared, entry.blocks))) for entry in plan.layers)
        return replace(plan, layers=tuple(layers))


def _layout(sequence: TokenSequence) -> Hashable:
    """Return all of a sequence that a plan depends on."""
    content = tuple(token.position for token in sequence.tokens if token.is_content)
    return sequence.segments, len(sequence.tokens), content  # a token for each position, or none
