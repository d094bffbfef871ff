"""A chart of a LoRA: how much it changes each block, over the whole network.

Laid out here, not by matplotlib's engine: what blocks share stands so many inches below bars, and
the engine moves the bars when all is written. Tried with it, the lines crossed the names above.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from attn.lora.blocks import TARGETS
from attn.lora.file import Group, LoraFile, blocks, joint_norm, towers
from attn.lora.names import DENOISER
from attn.schema import kohya_name, short_name
from attn.viz.figures import FigureFile, new_figure
from attn.viz.labels import printable
from attn.viz.page import (
    FAMILY,
    GAP,
    LINE,
    MARGIN,
    add_axes,
    write_beside,
    write_heading,
    write_title,
)
from attn.viz.sizes import DPI
from attn.viz.style import FAINT, GRID, INK, LEGEND, RULE
from attn.wording import cut, digits, percent

WIDTH = 12.0  # inches between the margins
LEFT = 0.62  # for the numbers beside a panel
HEAD = 0.38  # for the title above a panel
NAMES = 0.36  # for the legend
TALL, LOW, FLAT = 2.7, 1.35, 0.85  # heights: denoiser, text encoders, relative to the weights
LONGEST = 80  # letters of the file's name, the widest of which still fit on the page
TICK = 0.062  # height of a letter of a block's name that is written upwards
NAME = 0.36  # for the name that blocks share
VALUE, ABOVE = 0.44, 0.22  # bars at least so wide have their values above them, which take so much
DIGIT = 0.075  # width of a letter below a bar
FEW = 3  # letters that are never written upwards
NARROW = 3.4  # panels less wide say less beside their title
NARROWEST = 9.0  # bars that a panel is as wide as at least

COLOURS = {
    "cross_attention": "#c8394f",
    "self_attention": "#2f6f9f",
    "joint_attention": "#7b4b94",
    "attention": "#4f9d9d",
    "fused": "#b0689f",
    "feed_forward": "#e8a838",
    "projection": "#5b9a72",
    "convolution": "#86b6d9",
    "conditioning": "#8a8f98",
    "embedding": "#b8bcc4",
    "norm": "#d9a6a0",
    "other": "#4a4e57",
}
PLAIN = "#5d6570"  # bars without parts


def draw(lora: LoraFile) -> FigureFile | None:
    """Draw the norm of the change of every block, the text encoders in a row of their own.

    A bar's height is ‖ΔW‖ of its block; its colours share it in proportion to ‖ΔW‖². With a base
    model, ‖ΔW‖ / ‖W‖ is below.

    Returns:
        `norms.png`, or None if the norm of no module is known.
    """
    rows = _rows(lora)
    if not rows:
        return None
    names = [name for name in TARGETS if any(name in row.targets for row in rows)]
    top = MARGIN + 2 * LINE + GAP + NAMES
    figure = new_figure(WIDTH + 2 * MARGIN, top + sum(row.height for row in rows) + MARGIN / 2)
    write_heading(figure, (_title(lora), _subtitle(lora)))
    _write_legend(figure, names, MARGIN + 2 * LINE + GAP)
    for row in rows:
        _draw_row(figure, row, top)
        top += row.height
    texts = {"file": printable(lora.path.name), "sha256": lora.sha256, "unit": "Frobenius norm"}
    return FigureFile("norms.png", figure, texts)


@dataclass(frozen=True)
class _Panel:
    """One tower: its title, remarks for wide and narrow panels, its blocks with a known norm."""

    title: str
    remarks: tuple[str, str]
    blocks: tuple[Group, ...]

    @property
    def bars(self) -> float:
        """Width, in bars."""
        return max(float(len(self.blocks)), NARROWEST)


@dataclass(frozen=True)
class _Row:
    """Panels beside each other on one scale, `tall` inches high."""

    panels: tuple[_Panel, ...]
    tall: float

    @property
    def blocks(self) -> list[Group]:
        return [block for panel in self.panels for block in panel.blocks]

    @property
    def targets(self) -> set[str]:
        return {module.target for block in self.blocks for module in block.modules}

    @property
    def is_relative(self) -> bool:
        return any(block.relative is not None for block in self.blocks)

    @property
    def bar(self) -> float:
        """Inches from bar to bar."""
        room = WIDTH - len(self.panels) * LEFT - (len(self.panels) - 1) * GAP
        return room / sum(panel.bars for panel in self.panels)

    @property
    def letters(self) -> int:
        """Length of the longest name below a bar."""
        return max(len(_rest(block)) for block in self.blocks)

    @property
    def is_upright(self) -> bool:
        """Whether the names below the bars have to be written upwards."""
        return self.letters > FEW and self.letters * DIGIT > self.bar

    @property
    def labels(self) -> float:
        """Height of the names of blocks, inches."""
        return NAME + (TICK * self.letters if self.is_upright else 0.16)

    @property
    def height(self) -> float:
        below = HEAD + FLAT if self.is_relative else 0.0
        return HEAD + self.tall + below + self.labels + GAP


def _rows(lora: LoraFile) -> list[_Row]:
    members = blocks(lora)
    panels = {
        tower.tower: _panel(tower, members, lora.norm)
        for tower in towers(lora)
        if tower.norm is not None
    }
    main = tuple(panel for tower, panel in panels.items() if tower == DENOISER)
    others = tuple(panel for tower, panel in panels.items() if tower != DENOISER)
    rows = (_Row(main, TALL), _Row(others, LOW if main else TALL))
    return [row for row in rows if row.panels]


def _panel(tower: Group, members: Sequence[Group], whole: float | None) -> _Panel:
    share = tower.share(whole)
    part = "" if share in (None, 1.0) else percent(share)
    measured = [
        member for member in members if member.tower == tower.tower and member.norm is not None
    ]
    long = f"‖ΔW‖ {tower.norm or 0:.3g}" + (f" · {part} of all ‖ΔW‖²" if part else "")
    return _Panel(tower.tower.replace("_", " "), (long, part), tuple(measured))


def _title(lora: LoraFile) -> str:
    return cut(printable(lora.path.name), LONGEST)


def _subtitle(lora: LoraFile) -> str:
    title = lora.family.title
    facts = f"{title[:1].upper()}{title[1:]} · ‖ΔW‖ {lora.norm or 0:.3g}"
    how = "height: ‖ΔW‖ of a block; colours share it in proportion to ‖ΔW‖²"
    return f"{printable(facts)} · {how}"


def _write_legend(figure: Figure, names: Sequence[str], top: float) -> None:
    width, height = figure.get_size_inches()
    figure.legend(
        [Patch(facecolor=COLOURS[name]) for name in names],
        [name.replace("_", " ") for name in names],
        loc="upper left",
        bbox_to_anchor=(MARGIN / width, 1 - top / height),
        ncols=len(names),
        handlelength=0.9,
        handleheight=0.9,
        handletextpad=0.45,
        columnspacing=1.4,
        prop={"family": FAMILY, "size": 9},
        **LEGEND,
    )


def _draw_row(figure: Figure, row: _Row, top: float) -> None:
    """Draw panels side by side, as wide as they have bars, on one scale."""
    highest = max(block.norm or 0 for block in row.blocks) or 1.0
    furthest = max(block.relative or 0 for block in row.blocks) or 1.0
    left = MARGIN
    for panel in row.panels:
        left, width = left + LEFT, row.bar * panel.bars
        axes = add_axes(figure, left, top + HEAD, width, row.tall)
        has_values = row.bar >= VALUE
        remark = panel.remarks[width < NARROW]
        _draw_norms(axes, panel, highest, has_values=has_values)
        write_title(axes, panel.title, remark, size=11)
        if row.is_relative:
            lower = add_axes(figure, left, top + 2 * HEAD + row.tall, width, FLAT)
            _draw_relative(lower, panel, furthest, has_values=has_values)
            write_title(lower, "‖ΔW‖ / ‖W‖", size=9)
            axes = lower
        _name_blocks(axes, panel.blocks, row)
        left += width + GAP


def _draw_norms(axes: Axes, panel: _Panel, highest: float, *, has_values: bool) -> None:
    for position, block in enumerate(panel.blocks):
        bottom = 0.0
        for name, height in _parts(block):
            axes.bar(position, height, 0.78, bottom, color=COLOURS[name], linewidth=0)
            bottom += height
        if has_values:
            _write_value(axes, position, bottom, digits(bottom))
    _style(axes, len(panel.blocks), panel.bars, highest)


def _parts(block: Group) -> Iterator[tuple[str, float]]:
    """Yield what each target has of a bar: its share of the squares, times the whole."""
    whole = block.norm or 0.0
    for name in TARGETS:
        norm = joint_norm(module.norm for module in block.modules if module.target == name)
        if norm and whole:
            yield name, norm**2 / whole


def _draw_relative(axes: Axes, panel: _Panel, highest: float, *, has_values: bool) -> None:
    for position, block in enumerate(panel.blocks):
        if block.relative is not None:
            axes.bar(position, block.relative, 0.78, color=PLAIN, linewidth=0)
            if has_values:
                _write_value(axes, position, block.relative, f"{100 * block.relative:.3g}%")
    _style(axes, len(panel.blocks), panel.bars, highest, ticks=2)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))


def _write_value(axes: Axes, position: int, height: float, text: str) -> None:
    write_beside(axes, text, (position, height), (0, 2), size=7.5, ha="center", va="bottom")


def _style(axes: Axes, bars: int, width: float, highest: float, ticks: int = 4) -> None:
    spare = (width - bars) / 2
    axes.set_xlim(-0.5 - spare, bars - 0.5 + spare)
    inches = axes.get_window_extent().height / DPI
    axes.set_ylim(0, highest * inches / (inches - ABOVE))
    axes.set_xticks([])
    levels = MaxNLocator(ticks).tick_values(0, highest)
    axes.set_yticks([level for level in levels if level <= highest])  # none below the title
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.tick_params(axis="y", labelsize=8, length=0, labelcolor=FAINT, labelfontfamily=FAMILY)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)


def _rest(block: Group) -> str:
    """Return a block's name without the part that it shares with its neighbours, and kohya's."""
    name = short_name(block.name) if "." in short_name(block.name) else block.name
    kohya = kohya_name(block.name) if block.tower == DENOISER else ""
    return " ".join(filter(None, (name.partition(".")[2], kohya)))


def _name_blocks(axes: Axes, members: Sequence[Group], row: _Row) -> None:
    """Write the numbers of blocks below their bars, and once below them what they share."""
    rests = [_rest(block) for block in members]
    across = DIGIT * (2 if row.is_upright else row.letters)
    every = max(math.ceil(across / row.bar), 1)
    axes.set_xticks(
        range(0, len(members), every),
        rests[::every],
        rotation=90 if row.is_upright else 0,
        fontsize=7.5,
        fontfamily=FAMILY,
        color=INK,
    )
    axes.tick_params(axis="x", length=0, pad=3)
    start = 0
    for name, run in groupby(members, lambda block: block.name.partition(".")[0]):
        count = len(list(run))
        _write_shared(axes, name, start, count, row.labels)
        start += count


def _write_shared(axes: Axes, name: str, start: int, count: int, room: float) -> None:
    """Write what blocks share below a line as long as they are wide."""
    inches = axes.get_window_extent().height / DPI
    ends = [start - 0.38, start + count - 0.62]
    across = axes.get_xaxis_transform()
    level = -(room - 0.27) / inches
    axes.plot(ends, [level, level], color=RULE, linewidth=0.9, transform=across, clip_on=False)
    axes.text(
        sum(ends) / 2,
        -(room - 0.16) / inches,
        name,
        transform=across,
        ha="center",
        va="center",
        fontsize=8,
        color=FAINT,
        fontfamily=FAMILY,
        parse_math=False,
    )
