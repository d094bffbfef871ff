"""The heading of a figure of a text: what it shows, then what it is of."""

from __future__ import annotations

from attn.viz.figures import Subject


def head(finding: str, subject: Subject, what: str) -> tuple[str, str]:
    """Return title and subtitle: a sentence; family, seed, what is drawn, and the prompt."""
    return finding, f"{subject.backend} · seed {subject.seed} · {what} · {subject.prompt}"
