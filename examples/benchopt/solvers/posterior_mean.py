"""The mean of posterior samples, by methods of `inverse.METHODS`; also for the benchmarks of deepinv."""

import torch
from benchopt import BaseSolver

import inverse
import priors


class Solver(BaseSolver):
    """`inverse.to_deepinv`."""

    name = "score-inverse"
    sampling_strategy = "run_once"
    parameters = {  # noqa: RUF012 (benchopt's way)
        "prior": ["fashion-mnist"],
        "method": ["mmps", "ddrm"],
        "n_samples": [4],
        "n_steps": [10],
    }
    test_config = {"n_samples": 1, "n_steps": 2}  # noqa: RUF012 (as above)

    def set_objective(self, train_dataset=None, physics=None):
        device = "cuda" if torch.cuda.is_available() else "cpu"
        prior = priors.load(self.prior, device=device)
        self.model = inverse.to_deepinv(self.method, prior, self.n_samples, n_steps=self.n_steps)

    def run(self, _):
        """Nothing: the objective calls the model for each picture."""

    def get_result(self):
        return {"model": self.model}
