"""Names beside the points of a chart, placed so that they do not cover each other."""

import math
from itertools import pairwise
from typing import Any

CHARACTER, LINE = 6.8, 15.0  # pixels of a label's text, in the page's font of 12
POINT = 7.0  # radius of a point, with a little air
TURNS = 80
PLOT = (1000.0, 350.0)  # pixels between the axes on a laptop


def place(
    points: list[tuple[float, float, str]],
    spreads: list[float],
    line: list[tuple[float, float]],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
) -> list[dict[str, Any]]:
    """Plotly's annotations for points (x, y, text): beside the point where there is room, else farther off with a line to it.

    Args:
        points: in the axes' own units; the logarithm where an axis is logarithmic. The first are served first.
        spreads: half the length of each point's error bar.
        line: corners of a line that no label should lie on.
        x_range, y_range: what the axes show.
    """
    spots = [_pixels(x, y, x_range, y_range) for x, y, _ in points]
    lengths = [POINT + spread / ((y_range[1] - y_range[0]) or 1) * PLOT[1] for spread in spreads]
    taken = [(px - POINT, py - POINT, px + POINT, py + POINT) for px, py in spots]
    taken += [(px - 3, py - length, px + 3, py + length) for (px, py), length in zip(spots, lengths, strict=True)]
    corners = [_pixels(x, y, x_range, y_range) for x, y in line]
    taken += [box for start, end in pairwise(corners) for box in _along(start, end)]
    annotations = []
    for (x, y, text), (px, py) in zip(points, spots, strict=True):
        width = CHARACTER * len(text)
        dx, dy, box = min((_candidate(px, py, width, turn) for turn in range(TURNS)), key=lambda found: _covered(found[2], taken))
        taken.append(box)
        annotations.append(
            {
                "x": x,
                "y": y,
                "text": text,
                "ax": dx,
                "ay": dy,
                "showarrow": True,
                "arrowhead": 0,
                "arrowwidth": 1,
                "arrowcolor": "var(--soft-mark)",
                "standoff": 5,
                "font": {"color": "var(--text)"},
            }
        )
    return annotations


Box = tuple[float, float, float, float]


def _pixels(x: float, y: float, x_range: tuple[float, float], y_range: tuple[float, float]) -> tuple[float, float]:
    across = (x - x_range[0]) / ((x_range[1] - x_range[0]) or 1)
    up = (y - y_range[0]) / ((y_range[1] - y_range[0]) or 1)
    return across * PLOT[0], (1 - up) * PLOT[1]


def _along(start: tuple[float, float], end: tuple[float, float]) -> list[Box]:
    """Small boxes that cover a straight line."""
    parts = max(2, round(math.dist(start, end) / 8))
    middles = [tuple(a + (b - a) * i / parts for a, b in zip(start, end, strict=True)) for i in range(parts + 1)]
    return [(x - 4, y - 4, x + 4, y + 4) for x, y in middles]


def _candidate(px: float, py: float, width: float, turn: int) -> tuple[float, float, Box]:
    """The turn-th place to try, on a spiral around the point that begins to its right: offset of the text's middle, and its box."""
    angle, distance = (turn % 8) * math.pi / 4, 14 + 16 * (turn // 8)
    dx = math.cos(angle) * (distance + width / 2) if abs(math.cos(angle)) > 0.1 else 0.0
    dy = -math.sin(angle) * (distance + 2)
    return dx, dy, (px + dx - width / 2, py + dy - LINE / 2, px + dx + width / 2, py + dy + LINE / 2)


def _covered(box: Box, taken: list[Box]) -> float:
    """How much of other things a label would cover, or lie outside, in pixels squared. Of equal places the first tried is the nearest."""
    left, top, right, bottom = box
    covered = sum(max(0.0, min(right, r) - max(left, l)) * max(0.0, min(bottom, b) - max(top, t)) for l, t, r, b in taken)  # noqa: E741
    outside = max(0.0, -left) + max(0.0, right - PLOT[0]) + max(0.0, -top) + max(0.0, bottom - PLOT[1])
    return covered + LINE * outside
