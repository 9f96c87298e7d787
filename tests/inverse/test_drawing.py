"""How a solution is drawn, and what a notebook shows of it."""

import base64
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from inverse import Solution

PNG = b"\x89PNG"


def solution(shape=(2, 3, 1, 8, 8), **facts) -> Solution:
    samples = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    return Solution(samples, torch.zeros(shape[:2]), "mmps", 10, 20, 0.1, 0, **facts)


def headings(figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


def test_a_plot_has_a_column_per_thing_and_a_row_per_measurement():
    found = solution()
    figure = found.plot(torch.rand(2, 1, 4, 6), truth=torch.rand(2, 1, 8, 8))
    assert headings(figure) == ["truth", "measurement", "sample 1", "sample 2", "sample 3", "mean", "std"]
    drawn = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert len(drawn) == 2 * 7
    assert torch.allclose(torch.from_numpy(drawn[5].data), found.mean[0, 0])  # of the first row
    assert torch.allclose(torch.from_numpy(drawn[6].data), found.std[0, 0])
    assert headings(found.plot(most=1)) == ["sample 1", "mean", "std"]
    assert sum(len(axis.images) for axis in found.plot(most=1).axes if axis.get_label() != "<colorbar>") == 3


def test_a_window_is_what_is_black_and_white():
    figure = solution((1, 1, 1, 4, 4)).plot(window=(0.4, 0.6))
    x = figure.axes[0].images[0].get_array()
    assert x.min() == 0 and x.max() == 1
    assert headings(figure) == ["sample 1", "mean"]  # one sample has no standard deviation
    with pytest.raises(ValueError, match="window"):
        solution().plot(window=(1, 1))


def test_complex_pictures_are_drawn_as_magnitudes():
    found = solution((1, 1, 2, 4, 4))
    x = torch.from_numpy(found.plot(window=(0, 2)).axes[0].images[0].get_array().data)
    assert torch.allclose(x, found.samples[0, 0].norm(dim=0) / 2)


@pytest.mark.parametrize("y", [torch.rand(2, 7), torch.rand(2, 4, 8, 8), torch.rand(1, 1, 8, 8), "y"])
def test_what_is_no_picture_is_refused(y):
    with pytest.raises((ValueError, TypeError), match=r"measurement .* expected"):
        solution().plot(y)


@pytest.mark.filterwarnings("error")
def test_a_spread_that_is_not_known_to_be_right_is_named_so():
    assert headings(replace(solution(), calibrated=False).plot())[-1] == "std (uncalibrated)"


def test_a_notebook_shows_pictures_and_figures():
    text = solution(antithetic=False)._repr_html_()
    assert "Solution(samples=&lt;(2, 3, 1, 8, 8)&gt;" in text
    (png,) = re.findall(r'base64,([^"]+)"', text)
    assert base64.b64decode(png).startswith(PNG) and len(png) < 200_000
    assert solution().plot()._repr_png_().startswith(PNG)


def test_a_notebook_shows_what_is_no_picture_in_words():
    assert "<img" not in solution((1, 3, 5))._repr_html_()


def test_matplotlib_is_imported_by_a_plot_alone():
    code = "import sys, inverse; assert 'matplotlib' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
