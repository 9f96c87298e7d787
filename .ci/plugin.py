"""Test of the installed package: define, check, register and use an operator."""

from pathlib import Path

import inverse
import operators
import priors
from operators import GaussianNoise, LinearOperator, register


@register("rows")
class Rows(LinearOperator):
    """Every second row of a picture."""

    def forward(self, x):
        return x[..., ::2, :]


if __name__ == "__main__":
    assert "site-packages" in Path(inverse.__file__).parts, inverse.__file__
    prior = priors.load("fashion-mnist")
    operator = operators.make("rows", noise=GaussianNoise(0.05))
    operators.check(operator, prior.event_shape)
    y = operator.measure(priors.samples("fashion-mnist").floats(slice(0, 1)), seed=0)
    solution = inverse.solve(prior, operator, y, n_samples=2, n_steps=4, seed=0, progress=False)
    assert solution.samples.shape == (1, 2, 1, 28, 28)
    print(solution.method, float(solution.std.mean()))
