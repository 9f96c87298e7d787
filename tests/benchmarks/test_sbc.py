"""The benchmark of whole posteriors, in few draws of a known one."""

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import cli
from benchmarks.peers import PEERS, sbc
from benchmarks.peers.base import Draws
from inverse.app.calibration.quantities import LIKELIHOOD
from operators import GaussianNoise, Masking
from tests.cases import score_prior


def test_controls_pass_and_fail(tmp_path):
    found = sbc.run(sbc.MIXTURE, sbc.CONTROLS, 40, 9, 0, tmp_path, progress=False)
    assert found[sbc.EXACT].passed
    assert LIKELIHOOD in {test.name for test in found[sbc.IGNORANT].tests if not test.passed}
    row = sbc.row("prior-control", found[sbc.IGNORANT])
    assert row["draws x samples"] == "40 x 9" and row["tests that fail"].endswith("of 9") and row["strongest"] != "-"
    assert float(row["rank, likelihood"]) > 0.8


def test_peers_are_called_with_their_defaults(tmp_path, monkeypatch):
    calls = []

    def answer(prior, operator, y, n_samples, seed, **settings):
        calls.append((len(y), n_samples, settings))
        return Draws(torch.zeros(n_samples, 1, 8, 8), nfe=7, nvjp=3, seconds=0.5)

    name = next(iter(PEERS))
    monkeypatch.setattr(sbc, "PEERS", {name: type("P", (), {"name": name, "run": staticmethod(answer)})()})
    found = sbc.run(sbc.MIXTURE, [name, sbc.EXACT], 4, 3, 0, tmp_path, peer_draws=2, progress=False)
    assert calls == [(1, 3, {})] * 2 and found[name].n_draws == 2 and found[sbc.EXACT].n_draws == 4
    assert sbc.row(name, found[name])["NFE"] == "7 + 3 vjp" and found[name].seconds == 1.0


def test_a_peer_draws_what_the_toolkit_draws():
    """DDRM of deepinv through `inverse.calibrate`'s function: the samples of the peer itself, for that seed."""
    prior = sbc.image_mixture(sbc.VPSDE())
    operator = Masking.random((1, 8, 8), 0.5, noise=GaussianNoise(0.1))
    y, peer = operator.measure(prior.sample(1, seed=0), seed=0), PEERS["deepinv ddrm"]
    found = sbc.peer_method(peer, prior)(operator, y, 2, 5)
    torch.testing.assert_close(found.samples[0], peer.run(prior, operator, y, 2, 5).samples)


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected of"):
        sbc.run(sbc.MIXTURE, ["none"], 3, 2, 0, tmp_path)
    with pytest.raises(ValueError, match="posterior is known"):
        sbc.method_of(sbc.EXACT, score_prior())


def test_the_command_writes_table_and_pictures(tmp_path):
    words = ["--draws", "12", "--samples", "3", "--method", sbc.EXACT, "--out", str(tmp_path)]
    result = CliRunner().invoke(cli.app, ["run", "sbc", *words, "--work", str(tmp_path / "work")])
    assert result.exit_code == 0, result.output
    assert f"| {sbc.EXACT} | 12 x 3 |" in (tmp_path / "sbc-image-mixture.md").read_text()
    assert (tmp_path / "sbc" / f"image-mixture-{sbc.EXACT}.png").read_bytes().startswith(b"\x89PNG")
