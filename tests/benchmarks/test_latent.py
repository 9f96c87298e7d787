"""The table of posteriors through a decoder."""

import json

import torch

from benchmarks.exact.latent import BASIS, SDES, decode, encode, law, posed, run_latent
from operators import Decoder
from tests.cases import normal


def test_the_posterior_is_that_of_the_decoded_measurement():
    """Up to one constant, prior times likelihood through the decoder."""
    problem = posed(2, SDES["VP"], 2, 0.5, 0)
    z = problem.posterior.sample(50, seed=3)
    operator = problem.operator @ Decoder(decode)
    joint = problem.prior.log_prob(z) + operator.log_likelihood(problem.y, z.float())
    off = joint - problem.posterior.log_prob(z)
    assert float(off.std()) < 1e-3 < float(joint.std())


def test_the_encoder_inverts_the_decoder():
    z = normal(4, len(BASIS.mT), seed=4)
    torch.testing.assert_close(encode(decode(z)), z)
    assert len(law(1, SDES["VE"]).weights) == 1 and float(law(2, SDES["VE"]).weights.sum()) == 1


def test_the_table(tmp_path):
    run_latent(["auto"], samples=120, instances=1, out=tmp_path)
    rows = json.loads((tmp_path / "latent.json").read_text())["rows"]
    assert [(row["latents"], row["SDE"]) for row in rows[:2]] == [("Gaussian", "VE"), ("Gaussian", "VP")]
    assert len(rows) == 2 * len(SDES) and rows[0]["evaluations + backward passes"].startswith("pivot-linearized")
    assert all(float(row["ratio"]) < 1.3 for row in rows)
