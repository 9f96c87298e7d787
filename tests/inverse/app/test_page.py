"""The result folder: its pictures to the pixel, and its page, closed to the network and doing what its buttons say."""

import numpy as np
import pytest
import torch
from PIL import Image

from inverse import Solution
from inverse.app.page import write_folder
from priors.decoding import decode
from tests.benchmarks.suite.browser import CHROMIUM, DRIVER, browser
from tests.benchmarks.suite.test_report_page import faults_of, outside

EVIL = "<script>alert(1)</script>"
FIGURES = {"PSNR of the mean": "28.1 dB", "command": "inverse solve a.png"}


def solution(*shape: int, k: int = 3) -> Solution:
    samples = torch.rand(1, k, *shape, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    return Solution(samples, torch.zeros(1, k), "mmps", 5, 10, 1.0, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("folder")
    y, truth = torch.rand(1, 3, 12, 16), torch.rand(1, 3, 24, 32)
    write_folder(out, f"photo.png {EVIL}", solution(3, 24, 32), y, truth, FIGURES, [f"beware {EVIL}"])
    return out


def test_pictures_are_the_samples(folder):
    x = solution(3, 24, 32).samples[0]
    for name, picture in {"mean": x.mean(0), **{f"sample-{k + 1}": x[k] for k in range(3)}}.items():
        expected = (255 * picture.clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(np.array(Image.open(folder / f"{name}.png")), expected)
    assert Image.open(folder / "measurement.png").size == (16, 12)
    assert Image.open(folder / "truth.png").size == (32, 24)
    assert Image.open(folder / "std.png").size[0] > 12 * 32 and (folder / "solution.png").exists()


def test_the_page_is_whole_and_names_nothing_outside(folder):
    text = (folder / "index.html").read_text()
    assert faults_of(text) == [] and outside(text) == []
    assert EVIL not in text and "beware &lt;script&gt;" in text
    for name in ("truth", "measurement", "mean", "std", "sample 3", "28.1 dB", "inverse solve a.png"):
        assert name in text


def test_one_grey_sample_has_no_std_and_other_events_no_pictures(tmp_path):
    write_folder(tmp_path / "grey", "g", solution(1, 8, 8, k=1), torch.rand(1, 7), None, {}, [])
    names = {path.name for path in (tmp_path / "grey").iterdir()}
    assert names == {"mean.png", "sample-1.png", "solution.png", "index.html"}
    assert Image.open(tmp_path / "grey" / "mean.png").mode == "L"
    write_folder(tmp_path / "none", "n", solution(9), torch.rand(1, 7), None, {}, [])
    assert not (tmp_path / "none").exists()


def test_large_pictures_are_made_small_on_the_page_alone(tmp_path):
    write_folder(tmp_path, "large", solution(3, 600, 1300, k=1), torch.rand(1, 7), None, {}, [])
    assert Image.open(tmp_path / "mean.png").size == (1300, 600)
    text = (tmp_path / "index.html").read_text()
    assert "data:image/jpeg" in text and len(text) < 4e6


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
def test_a_picture_of_more_than_8_bits_comes_back_as_such(tmp_path, channels, dtype):
    found = solution(channels, 8, 9)
    write_folder(tmp_path, "deep", found, torch.rand(1, 7), None, {}, [], dtype)
    for name, x in {"mean": found.mean[0], "sample-2": found.samples[0, 1]}.items():
        pixels = decode(tmp_path / f"{name}.tif").values
        expected = x.permute(1, 2, 0).squeeze(-1).numpy()
        if dtype == "uint16":
            assert pixels.dtype == np.uint16
            np.testing.assert_allclose(pixels, expected.clip(0, 1) * 65535, atol=0.51)
        else:
            assert pixels.dtype == np.float32
            np.testing.assert_array_equal(pixels, expected)
        assert np.array(Image.open(tmp_path / f"{name}.png")).dtype == np.uint8
    write_folder(tmp_path / "plain", "p", found, torch.rand(1, 7), None, {}, [], "uint8")
    assert not list((tmp_path / "plain").glob("*.tif"))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    pytest.importorskip("selenium", reason="selenium (dependency group dev) drives the browser")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium or chromedriver on this machine: apt-get install chromium chromium-driver")
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


SEEN = "return Array.from(document.querySelectorAll('figure')).filter(f => getComputedStyle(f).visibility == 'visible')"
SHOWN = SEEN + ".map(f => f.dataset.name)"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_in_a_browser(chromium, folder, width, dark):
    visit = chromium.visit(folder / "index.html", width, dark)
    assert visit.faults == []
    assert chromium.run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert chromium.run(SHOWN) == ["mean"]
    press = "document.querySelectorAll('#bar button')[arguments[0]].click();"
    chromium.run(press, 0)
    assert chromium.run(SHOWN) == ["truth"]
    chromium.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true}))")
    assert chromium.run(SHOWN) == ["sample 3"]
    assert chromium.run("return document.getElementById('cut').hidden")
    chromium.run("const s = document.querySelector('select'); s.value = 'mean'; s.dispatchEvent(new Event('change'))")
    assert sorted(chromium.run(SHOWN)) == ["mean", "sample 3"]
    chromium.run("const c = document.getElementById('cut'); c.value = 20; c.dispatchEvent(new Event('input'))")
    assert "20%" in chromium.run("return getComputedStyle(document.querySelector('.beside img')).clipPath")
    assert chromium.since().faults == []
