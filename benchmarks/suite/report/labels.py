"""Where names stand in a plot so that they hide neither each other nor a point."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

HEIGHT = 12.0  # of a line of text, in the plot's units
WIDTH = 6.2  # of a letter, a little more than it takes, so that fonts may differ
RADII = (7.0, 12.0, 20.0, 30.0, 42.0, 56.0, 72.0, 90.0)
ANGLES = tuple(math.tau * i / 16 for i in range(16))


@dataclass(frozen=True)
class Box:
    """A rectangle: left, top, right and bottom, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """The area shared with another."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)


@dataclass(frozen=True)
class Label:
    """A placed name: text, its box, and the point that it is of."""

    text: str
    box: Box
    x: float
    y: float

    @property
    def leader(self) -> tuple[float, float] | None:
        """The place on the box that a line to the point ends at; None where it stands beside the point."""
        at = min(max(self.x, self.box.left), self.box.right), min(max(self.y, self.box.top), self.box.bottom)
        return at if math.dist(at, (self.x, self.y)) > 9 else None


def place(
    points: Sequence[tuple[float, float, str]], frame: Box, obstacles: Sequence[Box] = (), radius: float = 4.5
) -> list[Label]:
    """Names beside their points, the crowded ones first, each where it covers least and is nearest.

    Of candidates on rings about the point, a name takes the one with the least shared area with names placed before,
    points and obstacles, and with the least distance. Greedy: with room for all of them none overlap.
    Arguments: points (x, y, name); frame: where names may stand; obstacles: what is better not covered; radius of a
    point.
    Returns: labels in the order of points.
    """
    dots = [Box(x - radius, y - radius, x + radius, y + radius) for x, y, _ in points]
    placed: dict[int, Label] = {}
    for i in sorted(range(len(points)), key=lambda i: -_crowd(points, i)):
        x, y, text = points[i]
        names = [label.box for label in placed.values()]
        lines = [line for label in placed.values() if label.leader for line in _steps((label.x, label.y), label.leader)]

        def cost(box: Box, i=i, names=names, lines=lines, x=x, y=y) -> float:
            outside = (box.right - box.left) * HEIGHT - box.overlap(frame)
            leader = Label("", box, x, y).leader
            crossed = _steps((x, y), leader) if leader else []
            return (
                100 * outside
                + 20 * sum(box.overlap(other) for other in names)
                + 20 * sum(step.overlap(other) for step in crossed for other in names)
                + 20 * sum(box.overlap(step) for step in lines)
                + 8 * sum(box.overlap(dot) for dot in dots)
                + 8 * sum(step.overlap(dot) for step in crossed for j, dot in enumerate(dots) if j != i)
                + 0.5 * sum(box.overlap(other) for other in obstacles)
                + math.dist((x, y), _nearest(box, x, y))
            )

        placed[i] = Label(text, min(_candidates(x, y, text), key=cost), x, y)
    return [placed[i] for i in range(len(points))]


def _candidates(x: float, y: float, text: str) -> list[Box]:
    width = WIDTH * len(text)
    boxes = []
    for r in RADII:
        for angle in ANGLES:
            cx, cy = x + r * math.cos(angle), y + r * math.sin(angle)
            across = math.cos(angle)
            left = cx if across > 0.3 else cx - width if across < -0.3 else cx - width / 2
            top = cy - HEIGHT / 2 + HEIGHT / 2 * math.sin(angle)
            boxes.append(Box(left, top, left + width, top + HEIGHT))
    return boxes


def _crowd(points: Sequence[tuple[float, float, str]], i: int) -> float:
    x, y, _ = points[i]
    return sum(1 / (1 + math.hypot((x - a) / 60, (y - b) / 15)) for j, (a, b, _) in enumerate(points) if j != i)


def _nearest(box: Box, x: float, y: float) -> tuple[float, float]:
    return min(max(x, box.left), box.right), min(max(y, box.top), box.bottom)


def _steps(start: tuple[float, float], end: tuple[float, float]) -> list[Box]:
    """A line as small squares."""
    n = max(2, int(math.dist(start, end) / 4))
    at = [(start[0] + (end[0] - start[0]) * k / n, start[1] + (end[1] - start[1]) * k / n) for k in range(1, n + 1)]
    return [Box(x - 1, y - 1, x + 1, y + 1) for x, y in at]
