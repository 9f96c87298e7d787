"""Placement of labels in a plot without overlaps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HEIGHT = 12.0  # of a line of text, in the plot's units
WIDTH = 6.2  # of a letter, a little more than it takes, so that fonts may differ
RADII = (7.0, 12.0, 20.0, 30.0, 42.0, 56.0, 72.0, 90.0)
PASSES = 3  # over all names, each placed anew among the others
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
    def at(self) -> tuple[float, float]:
        """The place on the box that is nearest to the point."""
        return min(max(self.x, self.box.left), self.box.right), min(max(self.y, self.box.top), self.box.bottom)

    @property
    def leader(self) -> bool:
        """Whether a line has to lead from the point to the name, which is too far away."""
        return math.dist(self.at, (self.x, self.y)) > 9

    def steps(self) -> list[Box]:
        """The line to the name as small squares; none where it needs no line."""
        if not self.leader:
            return []
        (x, y), (a, b) = (self.x, self.y), self.at
        n = max(2, int(math.dist((x, y), (a, b)) / 4))
        along = [(x + (a - x) * k / n, y + (b - y) * k / n) for k in range(1, n + 1)]
        return [Box(x - 1, y - 1, x + 1, y + 1) for x, y in along]


def place(
    points: Sequence[tuple[float, float, str]], frame: Box, obstacles: Sequence[Box] = (), radius: float = 4.5
) -> list[Label]:
    """Names beside their points, the crowded ones first, each where it covers least and is nearest.

    Of candidates on rings about the point, a name takes the one with the least shared area with other names, points
    and obstacles, and with the least distance; in a few passes, as those placed later make room or take it.
    Arguments: points (x, y, name); frame: where names may stand; obstacles: what is better not covered; radius of a
    point.
    Returns: labels in the order of points.
    """
    dots = np.array([[x - radius, y - radius, x + radius, y + radius] for x, y, _ in points]).reshape(-1, 4)
    bars = np.array([[o.left, o.top, o.right, o.bottom] for o in obstacles]).reshape(-1, 4)
    placed: dict[int, Label] = {}
    order = sorted(range(len(points)), key=lambda i: -_crowd(points, i))
    for i in order * PASSES:
        placed.pop(i, None)
        x, y, text = points[i]
        boxes = _candidates(x, y, text)
        names = _rows([label.box for label in placed.values()])
        lines = _rows([step for label in placed.values() for step in label.steps()])
        cost = 100 * (WIDTH * len(text) * HEIGHT - _shared(boxes, _rows([frame])))
        cost += 20 * (_shared(boxes, names) + _shared(boxes, lines)) + 8 * _shared(boxes, dots)
        cost += 2 * _shared(boxes, bars)
        others = np.concatenate([20 * np.ones(len(names)), 8 * np.ones(len(dots) - 1)])
        blocks = np.concatenate([names, np.delete(dots, i, 0)])
        far = np.hypot(x - np.clip(x, boxes[:, 0], boxes[:, 2]), y - np.clip(y, boxes[:, 1], boxes[:, 3]))
        cost += far
        least = math.inf
        for k in np.argsort(cost):  # what the line to a name crosses only adds: most need not be looked at
            if cost[k] >= least:
                break
            label = Label(text, Box(*map(float, boxes[k])), x, y)
            crossed = float(_shared(blocks, _rows(label.steps())) @ others) if label.leader else 0.0
            if cost[k] + crossed < least:
                least, placed[i] = cost[k] + crossed, label
    return [placed[i] for i in range(len(points))]


def _candidates(x: float, y: float, text: str) -> np.ndarray:
    """Boxes (n, 4) on rings about a point."""
    width, boxes = WIDTH * len(text), []
    for r in RADII:
        for angle in ANGLES:
            cx, cy, across = x + r * math.cos(angle), y + r * math.sin(angle), math.cos(angle)
            left = cx if across > 0.3 else cx - width if across < -0.3 else cx - width / 2
            top = cy - HEIGHT / 2 + HEIGHT / 2 * math.sin(angle)
            boxes.append((left, top, left + width, top + HEIGHT))
    return np.array(boxes)


def _rows(boxes: Sequence[Box]) -> np.ndarray:
    return np.array([[b.left, b.top, b.right, b.bottom] for b in boxes], dtype=np.float64).reshape(-1, 4)


def _shared(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The area that each of boxes (n, 4) has in common with others (m, 4), summed over these: (n,)."""
    a, b = boxes[:, None], others[None]
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    return (width.clip(0) * height.clip(0)).sum(1)


def _crowd(points: Sequence[tuple[float, float, str]], i: int) -> float:
    x, y, _ = points[i]
    return sum(1 / (1 + math.hypot((x - a) / 60, (y - b) / 15)) for j, (a, b, _) in enumerate(points) if j != i)
