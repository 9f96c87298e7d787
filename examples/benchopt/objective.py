"""A benchmark of benchopt: reconstruction of shipped pictures. Run: benchopt run examples/benchopt

Methods are given and judged as in the benchmarks of deepinv (github.com/deepinv/benchmarks), by `deepinv.test`, so that
solvers/posterior_mean.py serves there, too.
"""

import deepinv
from benchopt import BaseObjective
from torch.utils.data import DataLoader


class Objective(BaseObjective):
    """The mean PSNR, dB, of reconstructions of all pictures, and its standard deviation over pictures."""

    name = "Inpainting"
    requirements = ("deepinv",)
    min_benchopt_version = "1.8"
    sampling_strategy = "run_once"

    def set_data(self, dataset, physics):
        self.dataset, self.physics = dataset, physics

    def get_objective(self):
        return {"train_dataset": self.dataset, "physics": self.physics}

    def evaluate_result(self, model):
        """Arguments: model: (y, physics) -> pictures."""
        found = deepinv.test(
            model,
            DataLoader(self.dataset),
            self.physics,
            online_measurements=True,
            device=getattr(model, "device", None),
            metrics=[deepinv.loss.metric.PSNR()],
            compare_no_learning=False,
            show_progress_bar=False,
            verbose=False,
        )
        return {"value": -found["PSNR"], "PSNR": found["PSNR"], "PSNR_std": found["PSNR_std"]}

    def get_one_result(self):
        return {"model": deepinv.models.ArtifactRemoval(deepinv.models.MedianFilter())}
