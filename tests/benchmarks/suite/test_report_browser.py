"""The page in a real browser: silent, asking for nothing, and doing what its buttons say."""

import shutil

import pytest

from benchmarks.suite.report import write_report
from tests.benchmarks.suite.browser import CHROMIUM, DRIVER, browser
from tests.benchmarks.suite.synthetic import records

pytest.importorskip("selenium", reason="selenium (dependency group dev) drives the browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="no chromium or chromedriver on this machine: apt-get install chromium chromium-driver, as .ci/run does",
)
METHODS = ["mmps", "dps", "ddrm", "splitgibbs", "linear MMSE"]
FIGURES = (
    "return Array.from(document.querySelectorAll('table.figures tbody tr'))"
    ".map(r => r.cells[arguments[0]].dataset.value)"
)
HEADS = "return Array.from(document.querySelectorAll('table.figures thead th')).map(h => h.getAttribute('aria-sort'))"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    found = records("blur", n=4, methods=METHODS) + records("masking", n=3, methods=["mmps", "dps"])
    write_report(found, path, {"command": "x"})
    return path


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_is_silent_and_fits(chromium, page, width, dark):
    assert chromium.visit(page, width, dark).faults == []
    wide = chromium.run("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert wide[0] <= wide[1] == width
    dim = chromium.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(c => c < 128)")
    assert dim is dark


def test_all_pictures_are_drawn(chromium, page):
    chromium.visit(page)
    broken = (
        "return Array.from(document.images).filter(i => !i.hidden && !(i.complete && i.naturalWidth)).map(i => i.alt)"
    )
    assert chromium.run(broken) == []
    kinds = chromium.run("return Array.from(document.images).map(i => getComputedStyle(i).imageRendering)")
    assert "pixelated" in kinds


def test_columns_sort_by_click_and_by_key(chromium, page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    chromium.visit(page)
    n = len(METHODS)
    names, values = chromium.run(FIGURES, 0)[:n], chromium.run(FIGURES, 1)[:n]
    assert values == sorted(values, key=float, reverse=True) and sorted(names) == sorted(METHODS)
    assert chromium.run(HEADS)[:2] == ["none", "descending"]
    buttons = chromium.driver.find_elements(By.CSS_SELECTOR, "table.figures thead button")
    buttons[1].click()
    assert chromium.run(FIGURES, 1)[:n] == values[::-1] and chromium.run(HEADS)[:2] == ["none", "ascending"]
    buttons[0].send_keys(Keys.ENTER)
    assert chromium.run(FIGURES, 0)[:n] == sorted(METHODS, key=str.lower)
    assert chromium.run(HEADS)[:2] == ["ascending", "none"]
    crps = [h.text for h in chromium.driver.find_elements(By.CSS_SELECTOR, "table.figures thead th")].index("CRPS\n↓")
    for _ in range(2):  # what has no figure is last either way
        buttons[crps].send_keys(Keys.SPACE)
        assert chromium.run(FIGURES, crps)[n - 1] == ""
    target = [h.text.split()[0] for h in chromium.driver.find_elements(By.CSS_SELECTOR, "table.figures th")].index(
        "coverage"
    )
    buttons[target].click()
    away = [abs(float(v) - 0.95) for v in chromium.run(FIGURES, target)[: n - 1]]
    assert away == sorted(away)
    assert chromium.since().faults == []


def test_differences_take_the_place_of_figures_without_a_jump(chromium, page):
    from selenium.webdriver.common.by import By

    chromium.visit(page)
    seen = "return Array.from(document.querySelectorAll('.value .against')).map(a => getComputedStyle(a).visibility)[0]"
    size = "return [document.body.scrollHeight, document.querySelector('table.figures').offsetWidth]"
    before = chromium.run(size)
    assert chromium.run(seen) == "hidden"
    chromium.driver.find_elements(By.CSS_SELECTOR, ".toggle label")[1].click()
    assert chromium.run(seen) == "visible" and chromium.run(size) == before


def test_the_gallery_flicks(chromium, page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    chromium.visit(page)
    state = (
        "const g = document.querySelector('.gallery');"
        "return [Array.from(g.querySelectorAll('.tile img')).map(i => i.src), g.querySelector('output').textContent,"
        "g.querySelector('.choices [aria-pressed=true] span').textContent, document.body.scrollHeight]"
    )
    shown, told, method, height = chromium.run(state)
    assert told == "image 0 (1 of 4)" and len(set(shown)) == 8
    stage = chromium.driver.find_element(By.CSS_SELECTOR, ".gallery .stage")
    stage.send_keys(Keys.ARROW_RIGHT)
    right = chromium.run(state)
    assert right[1] == "image 1 (2 of 4)" and right[2] == method and right[3] == height
    assert all(a != b for a, b in zip(right[0], shown, strict=True))
    stage.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert chromium.run(state)[1] == "image 3 (4 of 4)"  # round the end
    stage.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    down = chromium.run(state)
    assert down[1] == told and down[2] != method and down[0][:2] == shown[:2] and down[0][2] != shown[2]
    chromium.driver.find_elements(By.CSS_SELECTOR, ".gallery .choices button")[0].click()
    assert chromium.run(state)[:3] == [shown, told, method]
    chromium.driver.find_elements(By.CSS_SELECTOR, ".gallery .thumbs button")[2].click()
    assert chromium.run(state)[1] == "image 2 (3 of 4)"
    alt = chromium.run("return document.querySelectorAll('.gallery .tile img')[2].alt")
    assert alt == f"mean of image 2, {method}"
    assert chromium.since().faults == []


def test_the_metric_of_the_plots_is_chosen(chromium, page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.select import Select

    chromium.visit(page)
    visible = (
        "return Array.from(document.querySelectorAll('.tradeoffs')[0].querySelectorAll('figure')).map(f => !f.hidden)"
    )
    height = chromium.run("return document.body.scrollHeight")
    assert chromium.run(visible).index(True) == 0 and sum(chromium.run(visible)) == 1
    Select(chromium.driver.find_element(By.CSS_SELECTOR, ".tradeoffs select")).select_by_index(2)
    assert chromium.run(visible).index(True) == 2 and sum(chromium.run(visible)) == 1
    assert chromium.run("return document.body.scrollHeight") == height


def test_names_in_plots_do_not_overlap(chromium, tmp_path):
    write_report(records(n=6, pictures=False), tmp_path / "all.html", {"command": "x"})
    for width in (400, 1200):
        chromium.visit(tmp_path / "all.html", width)
        boxes = chromium.run(
            "return Array.from(document.querySelectorAll('figure.pair:not([hidden]) svg')).map(s =>"
            "Array.from(s.querySelectorAll('.name')).map(n => { const b = n.getBoundingClientRect();"
            "return [n.textContent, b.left, b.top + 2, b.right, b.bottom - 2]; }))"
        )
        assert [len(names) for names in boxes] == [15, 12]  # estimates have no NFE
        for names in boxes:
            found = [
                (a[0], b[0]) for i, a in enumerate(names) for b in names[:i]
                if min(a[3], b[3]) > max(a[1], b[1]) and min(a[4], b[4]) > max(a[2], b[2])
            ]  # fmt: skip
            assert found == []


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("<script>undefined_function()</script>", "undefined_function"),
        ("<script>console.warn('careful')</script>", "careful"),
        ("<script>console.error('wrong')</script>", "wrong"),
        ("<img src='http://nowhere.invalid/a.png'>", "nowhere.invalid"),
        ("<style>body { background: url(https://nowhere.invalid/b.png) }</style>", "nowhere.invalid"),
        ("<script>fetch('https://nowhere.invalid/c').catch(() => 0)</script>", "nowhere.invalid"),
        ("<img src='beside.png'>", "beside.png"),
    ],
)
@pytest.mark.parametrize("guarded", [False, True])
def test_these_checks_see_a_broken_page(chromium, page, tmp_path, broken, told, guarded):
    """Alone, and in the report, whose policy forbids to ask for anything: refusals are written to the console."""
    path = tmp_path / "broken.html"
    text = page.read_text() if guarded else "<!doctype html><html><body></body></html>"
    path.write_text(text.replace("</body>", f"{broken}</body>"))
    shutil.copy(page, tmp_path / "beside.html")
    assert any(told in fault for fault in chromium.visit(path).faults)
