"""Time against quality of our methods and other toolkits', on next to nothing."""

from dataclasses import replace

from benchmarks.peers import curves
from benchmarks.peers.curves import Entry
from benchmarks.trained.efficiency import SCENES, Scene


def small(scene: Scene, title: str) -> Scene:
    """One image of 16 x 16, measured as another scene measures."""
    make = next(other.operators[title] for other in SCENES if title in other.operators)
    return replace(scene, side=16, images=1, samples=2, operators={title: make})


def test_a_row_per_method_and_a_picture(tmp_path):
    scene = replace(
        SCENES[0], side=16, images=1, samples=2, operators={"blur": SCENES[0].operators["motion blur, 9 px"]}
    )
    entries = [
        Entry("auto", 2, True),
        Entry("auto", 2, antithetic=True),
        Entry("mmps, one pass", 3),
        Entry("ddrm", 3),
        Entry("azula mmps", 3, peer=True),
    ]
    found = curves.run([scene], entries, tmp_path)
    rows = curves.table(found)
    assert [row["method"] for row in rows] == [
        "auto (default)",
        "auto, antithetic",
        "mmps, one pass",
        "ddrm",
        "azula mmps",
    ]
    for row in rows[:4]:  # our own rows are at least as good as themselves
        assert 0 < float(row["our time to its CRPS"]) <= 1 and 0 < float(row["our time to its PSNR"]) <= 1
    curves.plot(found, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    assert curves.run([scene], entries, tmp_path) == found  # read, not made again


def test_what_a_toolkit_does_not_serve_is_left_out(tmp_path):
    scene = replace(
        SCENES[0], side=16, images=1, samples=2, operators={"ct": SCENES[4].operators["tomography, 30 angles"]}
    )
    found = curves.run([scene], [Entry("deepinv ddrm", 2, peer=True)], tmp_path)
    assert [record for *_, record in found] == [None] and curves.table(found) == []
