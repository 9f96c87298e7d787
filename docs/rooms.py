"""Draws the rooms of `inverse` and what they import, from the source: `python docs/rooms.py` writes docs/rooms.svg.

A room stands in the row of its level (`LEVELS` of tests/test_layering.py); an arrow leads from a room to one that it
imports. Arrows that follow from others are left out, so that the drawing is the transitive reduction.
"""

import sys
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tests.test_layering import LEVELS, imports  # noqa: E402

WIDTH, HEIGHT, ROW, MARGIN = 116, 30, 74, 20  # of a box, and from one row to the next
SPACE = 172  # from one box of a row to the next
STYLE = (
    "text{font:13px sans-serif;text-anchor:middle;fill:#222}rect{fill:#eef;stroke:#556}"
    "path{fill:none;stroke:#889}svg{background:#fff}"
)


def arrows() -> dict[str, set[str]]:
    """Each room of `inverse`, and the rooms that it imports directly."""
    found: dict[str, set[str]] = {room: set() for level in LEVELS for room in sorted(level)}
    for i in imports():
        here, there = i.module.split("."), i.target.split(".")
        if here[0] == there[0] == "inverse" and len(here) > 1 < len(there) and here[1] != there[1]:
            found[here[1]].add(there[1])
    return found


def reduced(direct: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without the arrows that a longer path implies.

    Raises: graphlib.CycleError where rooms import each other in a circle.
    """
    reached: dict[str, set[str]] = {}
    for room in TopologicalSorter(direct).static_order():
        reached[room] = direct[room].union(*(reached[other] for other in direct[room]))
    return {
        room: {o for o in others if not any(o in reached[between] for between in others - {o})}
        for room, others in direct.items()
    }


def drawing() -> str:
    """The rooms as SVG."""
    widest = max(map(len, LEVELS))
    width, height = 2 * MARGIN + widest * SPACE, 2 * MARGIN + len(LEVELS) * ROW - ROW + HEIGHT
    place = {
        room: (width / 2 + (column - (len(level) - 1) / 2) * SPACE, MARGIN + row * ROW)
        for row, level in enumerate(LEVELS)
        for column, room in enumerate(sorted(level))
    }
    lines = []
    for room, others in reduced(arrows()).items():
        x, y = place[room]
        for other in sorted(others):
            to_x, to_y = place[other][0], place[other][1] + HEIGHT
            bend = 0.5 * (y - to_y)
            side = 0 if y - to_y < ROW or abs(x - to_x) > 1 else SPACE / 2  # past the boxes between, not behind them
            path = f"M{x:g} {y:g}C{x + side:g} {y - bend:g} {to_x + side:g} {to_y + bend:g} {to_x:g} {to_y + 6:g}"
            lines.append(f'<path d="{path}" marker-end="url(#tip)"/>')
    for room, (x, y) in place.items():
        lines.append(f'<rect x="{x - WIDTH / 2:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="5"/>')
        lines.append(f'<text x="{x:g}" y="{y + 20:g}">{room}</text>')
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    tip += '<path d="M0 0L8 4L0 8z" style="fill:#889"/></marker>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}">'
    return "\n".join([head, f"<style>{STYLE}</style><defs>{tip}</defs>", *lines, "</svg>"]) + "\n"


if __name__ == "__main__":
    (ROOT / "docs/rooms.svg").write_text(drawing())
