"""How large pictures become."""

from __future__ import annotations

from dataclasses import dataclass

from attn.errors import UsageError

DPI = 150
LEAST, MOST = 20, 600
LARGEST = 100_000_000
"""Pixels of a picture; more would fill the memory."""


@dataclass(frozen=True)
class FigureSize:
    """Resolution and size of pictures.

    Attributes:
        dpi: pixels per inch.
        figsize: width and height in inches that every page is scaled to, as far as its proportions
            allow, with all its letters. None leaves each page as large as it is laid out.

    Raises:
        UsageError: one of them makes no picture, or one that fills the memory.
    """

    dpi: int = DPI
    figsize: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not LEAST <= self.dpi <= MOST:
            raise UsageError(f"dpi: expected {LEAST} to {MOST} pixels per inch; got {self.dpi}")
        if self.figsize is None:
            return
        wide, high = self.figsize
        if not (wide > 0 and high > 0 and wide * high * self.dpi**2 <= LARGEST):
            raise UsageError(
                f"figsize: expected a width and a height in inches, at {self.dpi} dpi at most "
                f"{LARGEST // 10**6} million pixels in all; got {wide:g}x{high:g}"
            )

    def resolution(self, width: float, height: float) -> float:
        """Return the pixels for an inch of a page that is laid out in that many inches."""
        if self.figsize is None:
            return float(self.dpi)
        return self.dpi * min(self.figsize[0] / width, self.figsize[1] / height)


USUAL = FigureSize()
