"""The page as a file: whole, closed to the network, true to its pictures; Markdown and CSV beside it."""

import base64
import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from benchmarks.suite.report import gallery, png, write_report
from benchmarks.suite.report.page import TEMPLATES, render
from benchmarks.suite.report.pooling import pool
from benchmarks.suite.report.text import FIELDS, long_form, markdown
from tests.benchmarks.suite import synthetic
from tests.benchmarks.suite.synthetic import records

VOID = {"meta", "link", "img", "br", "input", "hr"}
PICTURE = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")
METHODS = ["mmps", "ddrm", "linear MMSE"]
FACTS = {"command": "inverse-bench report runs", "date": "2026-11-26"}


class Tags(HTMLParser):
    """Complains of tags that are not closed in order, doubled ids, links to nowhere and tables without captions."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.faults, self.images = [], set(), set(), [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if len(given) != len(attrs):
            self.faults.append(f"an attribute twice in {tag} {attrs}")
        if "id" in given:
            self.faults += [f"id {given['id']} twice"] if given["id"] in self.ids else []
            self.ids.add(given["id"])
        if tag == "a" and given.get("href", "").startswith("#"):
            self.links.add(given["href"][1:])
        if tag == "img":
            self.images.append(given)
        if tag == "svg" and not given.get("aria-label"):
            self.faults.append("a plot without a text for those who do not see it")
        if self.open and self.open[-1] == "table" and tag not in ("caption", "thead", "tbody"):
            self.faults.append(f"{tag} in a table")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")


def faults_of(text: str) -> list[str]:
    tags = Tags()
    tags.feed(text)
    tags.close()
    lost = [f"no #{link}" for link in tags.links - tags.ids]
    return tags.faults + lost + [f"{tag} is open" for tag in tags.open] + [
        f"an image without alt: {image}" for image in tags.images if "alt" not in image
    ]  # fmt: skip


def outside(text: str) -> list[str]:
    """All in a page that could name something outside of it."""
    return re.findall(r"https?:|//|url\(|@import|<base|src=[\"'](?!data:)", PICTURE.sub("data:", text))


@pytest.fixture(scope="module")
def found():
    return records("box", n=3, methods=METHODS) + records("blur", n=9, methods=METHODS, pictures=False)


@pytest.fixture(scope="module")
def page(found):
    return render(pool(found), FACTS)


def test_the_page_is_well_formed_and_names_nothing_outside(page):
    assert faults_of(page) == [] and outside(page) == []
    assert page.count("<caption") == page.count("<table") and page.startswith("<!doctype html>")


def test_the_marks_are_named_in_terms_of_statistics(monkeypatch):
    monkeypatch.setitem(synthetic.METHODS, "twin", synthetic.METHODS["mmps"])
    found = [r for problem in ("box", "blur") for r in records(problem, n=3, methods=["mmps", "twin"], pictures=False)]
    page = render(pool(found), FACTS)
    assert "ring: no significant difference from it" in page
    assert 'aria-label="best"' in page and 'aria-label="no significant difference from the best"' in page


def test_these_checks_see_a_wrong_page(page):
    assert faults_of(page.replace("</tbody>", "", 1)) and faults_of(page + "<img src='data:,'>")
    assert faults_of("<a href='#x'>y</a>") == ["no #x"]
    for wrong in ("<img src='beside.png'>", "<a href='https:x'>", "<style>a{b:url(c)}</style>", '<img src="//x">'):
        assert outside(page + wrong)


def test_of_large_pictures_fewer_are_shown(found, monkeypatch):
    problem = pool(found)[0]
    names = [row.name for row in problem.rows]
    whole = gallery.build(problem, names)
    assert whole is not None and len(whole.images) > 2
    pixels = whole.size[0] * whole.size[1] * len(whole.methods)
    for images in (2, 1):
        monkeypatch.setattr(gallery, "PIXELS", images * pixels * (2 + gallery.SAMPLES))
        few = gallery.build(problem, names)
        assert few is not None and few.images == whole.images[:images]
    monkeypatch.setattr(gallery, "PIXELS", 1)
    assert gallery.build(problem, names) == few  # one at least


def test_every_picture_decodes_to_the_pixels_given(found):
    (data,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', render(pool(found), FACTS))
    shown = json.loads(data)
    decoded = [np.array(Image.open(io.BytesIO(base64.b64decode(PICTURE.match(p)[1])))) for p in shown["pictures"]]
    held = {(r.method, image): {k: v[i] for k, v in r.pictures.items()}
            for r in found if r.pictures and r.seed == 0 for i, image in enumerate(r.images)}  # fmt: skip
    pixels = {m: np.stack([p["std"] for (name, _), p in held.items() if name == m]) for m in ("mmps", "ddrm")}
    tops = sorted(np.quantile(of, 0.995) for of in pixels.values())
    top = min(tops[0] + 0.75 * (tops[1] - tops[0]), tops[0] + tops[1])
    seen = 0
    for i, image in enumerate(shown["images"]):
        for kind, place in zip(("truth", "measurement"), shown["common"][i], strict=True):
            wanted = np.rint(255 * held["mmps", image][kind][0].astype(np.float64).clip(0, 1))
            np.testing.assert_array_equal(decoded[place], wanted)
        for m, method in enumerate(shown["methods"]):
            mean, std, *samples = shown["shown"][m][i]
            kept = held[method, image]
            np.testing.assert_array_equal(decoded[mean], np.rint(255 * kept["mean"][0].astype(np.float64).clip(0, 1)))
            assert (std is None) == ("std" not in kept)
            if std is not None:
                np.testing.assert_array_equal(decoded[std], png.spread(kept["std"], top))
            for k, place in enumerate(samples):
                if "samples" in kept:
                    wanted = np.rint(255 * kept["samples"][k, 0].astype(np.float64).clip(0, 1))
                    np.testing.assert_array_equal(decoded[place], wanted)
                else:
                    assert place is None
            seen += 1
    assert seen == 3 * len(METHODS)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (1, 1), (64, 3)])
def test_png_round_trip(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(png.encode(pixels)))), pixels)


@pytest.mark.parametrize("pixels", [np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 2), np.uint8)])
def test_png_refuses(pixels):
    with pytest.raises(ValueError, match="expected uint8"):
        png.encode(pixels)


def test_channels_are_grey_colour_or_a_magnitude():
    assert png.grey_or_colour(np.full((1, 2, 3), 2.0)).tolist() == [[255] * 3] * 2
    assert png.grey_or_colour(np.stack([np.zeros((2, 2)), np.ones((2, 2)), np.zeros((2, 2))]))[0, 0].tolist() == [
        0,
        255,
        0,
    ]
    assert png.grey_or_colour(np.array([[[0.3]], [[0.4]]])).tolist() == [[128]]
    assert png.grey_or_colour(np.full((1, 1, 1), np.nan)).tolist() == [[0]]


def test_texts_are_shown_and_not_run(found):
    evil = "<script>alert(1)</script><b>"
    wrong = replace(found[0], method=evil, task=evil, problem="x\"'>", error="E: </code><i>", metrics={}, pictures={})
    text = render(pool([*found, wrong]), {"command": evil}, title=evil)
    assert faults_of(text) == [] and "alert(1)</script>" not in text and "<i>" not in text


def test_it_tells_where_figures_come_from(page):
    for fact in ("inverse-bench run suite benchmarks/configs/smoke.toml --out runs/suite", "bff521f", "2.11.0",
                 "2 CPU cores", "inverse-bench report runs"):  # fmt: skip
        assert fact in page


def test_failures_warnings_and_reasons_are_told(found):
    failed = replace(found[0], metrics={}, pictures={}, ranks=None, error="NonFiniteState: step 3", settings={})
    warned = replace(found[1], provenance={**found[1].provenance, "warnings": ["weights are few"]})
    for text in (render(pool([failed, warned, *found[2:]]), FACTS), markdown(pool([failed, *found[1:]]), FACTS)):
        assert "NonFiniteState: step 3" in text and "a single estimate has no spread" in text
    assert "weights are few" in render(pool([failed, warned, *found[2:]]), FACTS)


def test_records_of_other_events_make_a_page_too(found):
    bare = [
        replace(r, pictures={}, ranks=None, nfe=0, nvjp=0, seconds=0.0, peak_memory=0, provenance={}) for r in found
    ]
    failed = [replace(r, metrics={}, scales={}, error="E: no") for r in bare]
    for some in (bare, failed, bare[:1]):
        text = render(pool(some), {})
        assert faults_of(text) == [] and "nan" not in PICTURE.sub("", text).replace("nance", "")


def test_markdown_has_the_table(found):
    text = markdown(pool(found), FACTS)
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("| method")]
    assert len(tables) == 4  # figures and differences, of two problems
    for table in tables:
        assert len({line.count(" | ") for line in table if not line.startswith("| -")}) == 1 and len(table) == 5
    assert re.search(r"\| mmps \| \*\*\d+\.\d\d\*\* \[\d+\.\d\d … \d+\.\d\d\]", text)
    assert "command: `inverse-bench report runs`" in text.splitlines()[-1]


def test_csv_round_trip(found):
    rows = list(csv.DictReader(io.StringIO(long_form(pool(found)))))
    assert tuple(rows[0]) == FIELDS
    read = {(r["problem"], r["method"], int(r["seed"]), int(r["image"]), r["metric"]): float(r["value"]) for r in rows}
    held = {(r.problem, r.method, r.seed, image, metric): float(values[i])
            for r in found for metric, values in r.metrics.items() for i, image in enumerate(r.images)}  # fmt: skip
    assert read == held


def test_files_are_written_whole_or_refused(found, tmp_path):
    names = [tmp_path / name for name in ("r.html", "r.md", "r.csv")]
    assert write_report(found, names[0], FACTS, names[1], names[2]) == names and sorted(tmp_path.iterdir()) == sorted(
        names
    )
    assert names[0].read_bytes() == render(pool(found), FACTS).encode()  # the same every time
    with pytest.raises(ValueError, match="no records"):
        write_report([], names[0], FACTS)
    with pytest.raises(ValueError, match="expected one of"):
        write_report(found, names[0], FACTS, baseline="nobody")


def test_templates_are_small_and_in_the_package():
    files = list(TEMPLATES.iterdir())
    assert len(files) >= 10 and all(len(file.read_text().splitlines()) < 150 for file in files)
