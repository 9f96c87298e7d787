"""The benchmarks' own machinery, on problems small enough for a test."""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks.common.intervals import interval
from benchmarks.common.provenance import provenance, write_table
from benchmarks.exact import exactness
from benchmarks.trained import speed
from benchmarks.trained.efficiency import SCENES
from benchmarks.trained.reconstruction import solved
from inverse import METHODS
from operators import GaussianNoise, Masking
from priors import VESDE, Gaussian


def test_a_table_is_written_as_markdown_and_json(tmp_path):
    rows = [{"method": "a", "PSNR": "1.0"}, {"method": "b", "PSNR": "2.0"}]
    path = write_table("name", "Title", rows, provenance(seed=3), "notes", tmp_path)
    text = path.read_text()
    assert "| method | PSNR |" in text and "| b | 2.0 |" in text and "Made by `uv run inverse-bench" in text
    record = json.loads((tmp_path / "name.json").read_text())
    assert record["rows"] == rows and record["facts"]["seed"] == 3


def test_a_table_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no rows"):
        write_table("name", "Title", [], provenance(), out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_interval_covers_the_mean_and_shrinks_with_the_number_of_images():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)) + 2
    few, many = ([float(end) for end in interval(values[:n]).split(",")] for n in (25, 400))
    assert few[0] < 2 < few[1] and many[0] < 2 < many[1]
    assert many[1] - many[0] < 0.4 * (few[1] - few[0])


def test_finished_blocks_are_read_and_not_solved_again(tmp_path, monkeypatch):
    prior = Gaussian(torch.zeros(9), torch.eye(9), VESDE(), event_shape=(1, 3, 3))
    operator = Masking.random((1, 3, 3), 0.5, noise=GaussianNoise(0.1))
    y = operator.measure(prior.sample(12), seed=0)
    arguments = (prior, operator, y, METHODS["pigdm"], 2, 5, 0, tmp_path, False)
    first = solved(*arguments)
    assert [len(s.samples) for s in first] == [10, 2]
    (tmp_path / sorted(p.name for p in tmp_path.iterdir())[1]).unlink()  # killed before the second block was done
    calls = []
    original = __import__("benchmarks.trained.reconstruction", fromlist=["solve"]).solve
    monkeypatch.setattr("benchmarks.trained.reconstruction.solve", lambda *a, **k: calls.append(a) or original(*a, **k))
    again = solved(*arguments)
    assert len(calls) == 1
    torch.testing.assert_close(again[0].samples, first[0].samples)
    torch.testing.assert_close(again[1].samples, first[1].samples)


def test_exactness_rows_carry_their_floor():
    rows = list(exactness.linear_gaussian(n=60, n_steps=40))
    assert {row["method"] for row in rows} == {"VE, mmps", "VP, mmps", "sub-VP, mmps", "flow, mmps"}
    assert all(0 < float(row["ratio"]) < 2 for row in rows)


@pytest.mark.filterwarnings("ignore")  # about samples of two steps
def test_overhead_is_shared_between_the_parts_that_cause_it(tmp_path):
    scene = replace(
        SCENES[0], side=16, images=1, samples=1, operators={"blur": SCENES[0].operators["motion blur, 9 px"]}
    )
    cells = speed.run([scene], ["ddrm", "mmps"], rows=1, steps=2, repeats=1, work=tmp_path)
    assert {cell.method: (cell.nfe, cell.nvjp) for cell in cells} == {"mmps": (3, 10), "ddrm": (3, 0)}
    for cell in cells:
        assert sum(cell.shares.values()) == pytest.approx(1, abs=0.02) and cell.shares["network"] > 0.3
    assert len(speed.table(cells)) == 2 and speed.run([scene], ["ddrm", "mmps"], 1, 2, 1, tmp_path) == cells


def test_a_replay_makes_the_calls_of_the_solve():
    class Counting(Gaussian):
        forward_calls = backward_calls = 0

        def denoise(self, x, t):
            self.forward_calls += 1
            return super().denoise(x, t)

        def denoise_vjp(self, x, t):
            denoised, vjp = super().denoise_vjp(x, t)

            def counted(v):
                self.backward_calls += 1
                return vjp(v)

            return denoised, counted

    prior, x = Counting(torch.zeros(2), torch.eye(2), VESDE()), torch.ones(3, 2)
    metered = speed.Metered(prior, keep=True)
    metered.denoise(x, 0.5)
    _, vjp = metered.denoise_vjp(x, 0.25)
    vjp(x)
    vjp(2 * x)
    metered.denoise(x, 0.125)
    spent = metered.seconds
    assert (prior.forward_calls, prior.backward_calls) == (3, 2) and spent > 0
    speed.replayed(prior, metered.calls)
    assert (prior.forward_calls, prior.backward_calls) == (6, 4) and metered.seconds == spent
