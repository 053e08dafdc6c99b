"""Charts as geometry: where bars, lines and labels stand. `charts.html` draws them as SVG; the units are its own."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 520, 250
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 24, 46
FLOOR = HEIGHT - BOTTOM
MOST_LABELS = 12
MOST_STEPS = 4
GAP = 0.3  # of a place, between bars


@dataclass(frozen=True)
class Label:
    """What stands below a place, in one or two lines."""

    text: str
    under: str = ""


@dataclass(frozen=True)
class Mark:
    """Something written at a point."""

    x: float
    y: float
    text: str
    under: str = ""
    other: bool = False  # every second one: left out where there is little room


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float
    part: bool = False  # the marked part of a bar


@dataclass(frozen=True)
class Chart:
    """`lines`: what connects values that follow each other, as points for a polyline; `limit`: the height of a limit
    that is drawn across."""

    ticks: tuple[Mark, ...]
    labels: tuple[Mark, ...]
    values: tuple[Mark, ...]
    boxes: tuple[Box, ...] = ()
    lines: tuple[str, ...] = ()
    limit: float | None = None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    floor: int = FLOOR


def bars(labels: Sequence[Label], values: Sequence[tuple[int, int]]) -> Chart:
    """A bar for each value; of it, the second number is the part at its top that is marked."""
    top, ticks = _scale(max((value for value, _ in values), default=0))
    boxes, told = [], []
    for x, width, (value, part) in zip(*_places(len(values)), values, strict=True):
        left, broad = round(x - width * (1 - GAP) / 2, 1), round(width * (1 - GAP), 1)
        high, middle = _height(value, top), _height(value - part, top)
        if value > part:
            boxes.append(Box(left, middle, broad, round(FLOOR - middle, 1)))
        if part:
            boxes.append(Box(left, high, broad, round(middle - high, 1), part=True))
        if value:
            told.append(Mark(x, high, _said(value, len(values))))
    return Chart(ticks, _labels(labels), tuple(told), boxes=tuple(boxes))


def line(labels: Sequence[Label], values: Sequence[float | None], limit: float) -> Chart:
    """A line through the values, broken where there is none, below or above a limit."""
    top, ticks = _scale(max((limit, *(value for value in values if value is not None))))
    runs: list[list[str]] = [[]]
    told = []
    for x, _, value in zip(*_places(len(values)), values, strict=True):
        if value is None:
            runs.append([])
            continue
        y = _height(value, top)
        runs[-1].append(f"{x},{y}")
        told.append(Mark(x, y, _said(value, len(values))))
    lines = tuple(" ".join(run) for run in runs if len(run) > 1)
    return Chart(ticks, _labels(labels), tuple(told), lines=lines, limit=_height(limit, top))


def _places(count: int) -> tuple[list[float], list[float]]:
    """The middle and the width of each place."""
    width = (WIDTH - LEFT - RIGHT) / max(count, 1)
    return [round(LEFT + width * (n + 0.5), 1) for n in range(count)], [width] * count


def _labels(labels: Sequence[Label]) -> tuple[Mark, ...]:
    """As many as fit; the second line always stands where it begins something."""
    each = -(-len(labels) // MOST_LABELS)
    return tuple(
        Mark(x, FLOOR + 18, label.text if not n % each else "", label.under, other=bool(n // each % 2))
        for n, (x, label) in enumerate(zip(_places(len(labels))[0], labels, strict=True))
        if not n % each or label.under
    )


def _said(value: float, count: int) -> str:
    """Written at its point while there is room."""
    return f"{value:g}" if count <= MOST_LABELS * 2 else ""


def _height(value: float, top: float) -> float:
    return round(FLOOR - (FLOOR - TOP) * value / top, 1)


def _scale(most: float) -> tuple[float, tuple[Mark, ...]]:
    """The top of a scale from 0 in round whole steps, and its ticks."""
    step = next(
        digit * 10**power for power in range(12) for digit in (1, 2, 5) if digit * 10**power * MOST_STEPS >= most
    )
    steps = max(1, -(-int(most * 1000) // (step * 1000)))
    top = step * steps
    return top, tuple(Mark(LEFT - 8, _height(step * n, top), str(step * n)) for n in range(steps + 1))
