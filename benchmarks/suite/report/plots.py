"""Plots as inline SVG, coloured by the page's style."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from markupsafe import Markup, escape

from benchmarks.suite.records import Scale
from benchmarks.suite.report.axes import Axis, limits, log_axis, plain_axis
from benchmarks.suite.report.labels import Box, place
from benchmarks.suite.report.sets import Histogram
from benchmarks.suite.report.stats import Estimate, loss
from benchmarks.suite.report.tables import duration, number, title

PLOT = (430, 350)  # units wide and high; as many pixels where there is room
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 12, 42


@dataclass(frozen=True)
class Point:
    """A method in a plot of quality against cost: name, cost > 0, its quality, whether it draws samples."""

    name: str
    cost: float
    quality: Estimate
    posterior: bool = True


def front(points: Sequence[Point], better: str | float) -> list[Point]:
    """The points that no other beats or equals in both quality and cost (the Pareto front), by cost."""
    best, found = math.inf, []
    for point in sorted(points, key=lambda p: (p.cost, loss(p.quality.mean, better))):
        if loss(point.quality.mean, better) < best:
            best = loss(point.quality.mean, better)
            found.append(point)
    return found


def pareto(points: Sequence[Point], scale: Scale, cost: str) -> Markup:
    """Quality against cost, both means, with 95 % intervals, the Pareto front as a line and every point's name.

    Points far from the rest are drawn at the edge, as a triangle, with their value.
    Arguments: points (one at least; costs of 0 or none are left out by the caller); scale of the quality; cost: title
    of the axis of cost, which is logarithmic.
    """
    width, height = PLOT
    low, high = limits([p.quality.mean for p in points])
    ends = [v for p in points if low <= p.quality.mean <= high for v in (p.quality.low, p.quality.high, p.quality.mean)]
    ends = [v for v in ends if math.isfinite(v)] + ([scale.better] if not isinstance(scale.better, str) else [])
    x = log_axis([p.cost for p in points], LEFT, width - RIGHT)
    y = plain_axis(ends, height - BOTTOM, TOP)
    parts = _frame(x, y, scale, cost)
    if not isinstance(scale.better, str):
        at = y.at(scale.better)
        parts.append(f'<line class="target" x1="{LEFT}" x2="{width - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
    parts.append(_front(front(points, scale.better), x, y))
    named, bars = [], []
    for p in points:
        px, beyond = x.at(p.cost), (p.quality.mean < y.low) - (p.quality.mean > y.high)
        py = y.at(min(max(p.quality.mean, y.low), y.high)) - 6 * beyond
        name = f"{p.name} ({number(p.quality.mean, scale)})" if beyond else p.name
        named.append((px, py, name))
        parts.append(_mark(p, px, py, beyond, y, scale))
        if math.isfinite(p.quality.low) and not beyond:
            bars.append(Box(px - 1, y.at(p.quality.high), px + 1, y.at(p.quality.low)))
    bars += _front_boxes(front(points, scale.better), x, y)
    for label in place(named, Box(LEFT + 2, TOP, width - RIGHT, height - BOTTOM - 2), bars):
        if label.leader:
            ax, ay = label.at
            parts.append(f'<line class="leader" x1="{label.x:.1f}" y1="{label.y:.1f}" x2="{ax:.1f}" y2="{ay:.1f}"/>')
        middle = (label.box.left + label.box.right) / 2
        parts.append(
            f'<text class="name" x="{middle:.1f}" y="{label.box.bottom - 2.8:.1f}" text-anchor="middle">'
            f"{escape(label.text)}</text>"
        )
    described = ", ".join(f"{p.name} {number(p.quality.mean, scale)} at {duration(p.cost)}" for p in points)
    alt = f"{title(scale)} against {cost}: {described}. On the Pareto front: " + ", ".join(
        p.name for p in front(points, scale.better)
    )
    return _svg(width, height, alt, parts, "pareto")


def ranks(found: Histogram, name: str) -> Markup:
    """A rank histogram over its 99 % band; bins outside of it are marked.

    Arguments: found; name of the method.
    """
    width, height, base = 168, 84, 78
    bins = len(found.parts)
    top = max(2.2 / bins, 1.08 * float(found.parts.max()))
    each = width / bins
    parts = []
    for b, part in enumerate(found.parts):
        out = bool(part < found.low[b] or part > found.high[b])
        tall = part / top * (base - 2)
        parts.append(
            f'<rect class="bar{" out" * out}" x="{b * each + 0.75:.2f}" y="{base - tall:.2f}" '
            f'width="{each - 1.5:.2f}" height="{tall:.2f}"/>'
        )
    if math.isfinite(found.low[0]):
        edges = [(b * each, (b + 1) * each, found.low[b], found.high[b]) for b in range(bins)]
        for left, right, low, high in edges:
            y1, y0 = base - min(high, top) / top * (base - 2), base - max(low, 0) / top * (base - 2)
            parts.append(
                f'<rect class="band" x="{left:.2f}" y="{y1:.2f}" width="{right - left:.2f}" height="{y0 - y1:.2f}"/>'
            )
    level = base - (base - 2) / bins / top
    parts.append(f'<line class="target" x1="0" x2="{width}" y1="{level:.2f}" y2="{level:.2f}"/>')
    parts.append(f'<line class="axis" x1="0" x2="{width}" y1="{base}" y2="{base}"/>')
    described = ", ".join(f"{100 * part:.1f}" for part in found.parts)
    alt = f"Rank histogram of {name}, percent per bin: {described}; {found.outside} of {bins} outside the 99 % band"
    return _svg(width, height, alt, parts, "ranks")


def _frame(x: Axis, y: Axis, scale: Scale, cost: str) -> list[str]:
    width, height = PLOT
    base, parts = height - BOTTOM, []
    ticks = y.ticks()
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    shown = replace(scale, digits=max(0, -math.floor(math.log10(step * (100 if scale.percent else 1)) + 1e-9)))
    if any(abs(float(f"{t * (100 if scale.percent else 1):.{shown.digits}f}") - t * (100 if scale.percent else 1)) >
           1e-6 * step for t in ticks):  # a step of 2.5  # fmt: skip
        shown = replace(shown, digits=shown.digits + 1)
    for tick in ticks:
        at = y.at(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 7}" y="{at + 3.6:.1f}" text-anchor="end">{number(tick, shown)}</text>'
        )
    for tick in x.ticks():
        at = x.at(tick)
        parts.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{base}" y2="{base + 4}"/>')
        parts.append(f'<text class="tick" x="{at:.1f}" y="{base + 16}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{width - RIGHT}" y1="{base}" y2="{base}"/>')
    middle = (LEFT + width - RIGHT) / 2
    parts.append(f'<text class="title" x="{middle}" y="{height - 6}" text-anchor="middle">{escape(cost)}</text>')
    return parts


def _front(points: Sequence[Point], x: Axis, y: Axis) -> str:
    """A line of steps: what is to be had for a cost."""
    path = ""
    for p in points:
        px, py = x.at(p.cost), y.at(min(max(p.quality.mean, y.low), y.high))
        path += f"H{px:.1f}V{py:.1f}" if path else f"M{px:.1f} {py:.1f}"
    return f'<path class="front" d="{path}H{x.end:.1f}"/>' if path else ""


def _front_boxes(points: Sequence[Point], x: Axis, y: Axis) -> list[Box]:
    at = [(x.at(p.cost), y.at(min(max(p.quality.mean, y.low), y.high))) for p in points]
    flat = [Box(a, b - 1, c, b + 1) for (a, b), (c, _) in zip(at, [*at[1:], (x.end, 0.0)], strict=True)]
    return flat + [Box(c - 1, min(b, d), c + 1, max(b, d)) for (_, b), (c, d) in pairwise(at)]


def _mark(p: Point, px: float, py: float, beyond: int, y: Axis, scale: Scale) -> str:
    under = number(p.quality.low, scale), number(p.quality.high, scale)
    described = f"{p.name}: {number(p.quality.mean, scale)} [{under[0]}, {under[1]}] at {duration(p.cost)}"
    tip = f"<title>{escape(described)}</title>"
    kind = "dot" if p.posterior else "dot open"
    if beyond:
        tip_y = py + 5 * beyond
        shape = f"M{px - 4.5:.1f} {py - 4 * beyond:.1f}h9L{px:.1f} {tip_y:.1f}Z"
        return f'<path class="{kind}" d="{shape}">{tip}</path>'
    bar = ""
    if math.isfinite(p.quality.low):
        y1, y0 = y.at(p.quality.high), y.at(p.quality.low)
        bar = f'<line class="error" x1="{px:.1f}" x2="{px:.1f}" y1="{y1:.1f}" y2="{y0:.1f}"/>'
    return f'{bar}<circle class="{kind}" cx="{px:.1f}" cy="{py:.1f}" r="3.6">{tip}</circle>'


def _svg(width: int, height: int, alt: str, parts: Sequence[str], kind: str) -> Markup:
    head = f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(alt)}">'
    return Markup(head + "".join(parts) + "</svg>")
