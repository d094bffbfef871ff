"""The check that every row of a batch is what the session says it is."""

from __future__ import annotations

from itertools import product

import numpy as np

from attn.backends.testing.events import events
from attn.backends.testing.observe import OTHER_PROMPT, Recording, begin, fail, pair, recorded
from attn.backends.types import Session
from attn.schema import Call, Request

SAME = {"float32": 1e-4}
"""Two rows are the same if their masses differ by less; batches of other sizes round otherwise."""
SAME_LOW_PRECISION = 2e-2
IMAGES = 2


def rows_labelled(session: Session, request: Request) -> None:
    """Every row of a batch belongs to the branch and the sample that the session announces."""
    session, request = begin(session, request, images=IMAGES)
    requests = pair(request)
    _check_announced(session, requests)
    batch = recorded(session, requests, "mass", mass_only=True)
    same = SAME.get(session.info.dtype, SAME_LOW_PRECISION)
    for index, item in enumerate(requests):
        alone = recorded(session, [item], "mass", mass_only=True)
        _check_request_rows(batch, alone, index, same)
    _check_branches(recorded(session, pair(request, request.seed), "mass", mass_only=True), same)


def _check_announced(session: Session, requests: list[Request]) -> None:
    """Branches are those of branches(), and each runs samples 0 to n-1, every step."""
    declared, number = session.branches(requests[0]), len(requests) * IMAGES
    calls = [event.call for event in events(session, requests) if event.call]
    ran = {branch for call in calls for branch, _ in call.rows}
    if ran != set(declared):
        fail(
            "branches()",
            f"it says {', '.join(declared)}, generate() ran {', '.join(sorted(ran))}",
            "make branches() and the rows of Call agree",
        )
    samples: dict[tuple[int, str, str], set[int]] = {}
    for call in calls:
        _check_unique(call)
        for branch, sample in call.rows:
            samples.setdefault((call.step, call.tower, branch), set()).add(sample)
    for (step, tower, branch), ran_samples in samples.items():
        if ran_samples != set(range(number)):
            fail(
                "generate()",
                f"step {step} of the {tower}, branch {branch}, ran samples {sorted(ran_samples)}",
                f"number the pictures of the batch 0 to {number - 1}, request by request",
            )
    for step in {call.step for call in calls}:
        if (step, "denoiser", "cond") not in samples:
            fail("generate()", f"step {step} has no 'cond' rows", "run 'cond' in every step")


def _check_unique(call: Call) -> None:
    if len(set(call.rows)) != len(call.rows):
        fail("generate()", f"step {call.step}: rows {call.rows}", "announce every row once")


def _check_request_rows(batch: Recording, alone: Recording, index: int, same: float) -> None:
    """A request's rows in a batch are those of the same request alone, image by image."""
    steps = (0, max(step or 0 for _, step in alone.tensors)) if same == SAME["float32"] else (0,)
    cells = product(steps, range(len(batch.branches)), range(IMAGES))
    for step, branch, image in cells:
        distance = _distance(batch, (index, step), alone, (0, step), (branch, image))
        if distance > same:
            fail(
                "generate()",
                f"step {step}, branch {batch.branches[branch]}: picture {image} of request {index} "
                f"attends otherwise in a batch than alone (by {distance:.1e})",
                "order rows as the batch runs, all pictures of a request together",
            )


def _check_branches(run: Recording, same: float) -> None:
    """With one seed and two prompts, step 0 differs in `cond` and not in `uncond`.

    An `uncond` sequence whose length is the prompt's own cannot be compared.
    """
    cond = _distance(run, (0, 0), run, (1, 0), (0, 0))
    if cond <= same:
        fail(
            "generate()",
            f"the 'cond' rows of two prompts are alike (by {cond:.1e})",
            f"announce the rows that read the prompt as 'cond' (the other is {OTHER_PROMPT!r})",
        )
    if "uncond" in run.branches:
        uncond = _distance(run, (0, 0), run, (1, 0), (run.branches.index("uncond"), 0))
        if same < uncond < np.inf:
            fail(
                "generate()",
                f"the 'uncond' rows follow the prompt (by {uncond:.1e})",
                "announce the rows that read the negative prompt as 'uncond'",
            )


def _distance(
    left: Recording,
    cell_left: tuple[int, int],
    right: Recording,
    cell_right: tuple[int, int],
    cell: tuple[int, int],
) -> float:
    """Return the largest difference of any mass of any layer in one (branch, image)."""
    worst = 0.0
    for name, tensor in left.tensors[cell_left].items():
        if "/mass." in name:
            there = right.tensors[cell_right][name]
            if tensor.shape != there.shape:  # prompts of other lengths
                return np.inf
            apart = np.abs(tensor[cell] - there[cell])
            worst = max(worst, float(np.nan_to_num(apart).max()))
    return worst
