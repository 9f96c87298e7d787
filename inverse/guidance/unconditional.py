"""No measurement: the posterior is the prior."""

from torch import Tensor

from inverse.protocols import RNG, Guidance, Posterior
from operators import Operator
from priors import Prior


class Unconditional(Guidance):
    """The prior alone: neither operator nor y is used.

    Source: Song et al. 2021, algorithm 1.
    """

    conditional = False
    citation = (
        "Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole: Score-Based Generative Modeling through SDEs, ICLR 2021"
    )

    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        return Posterior(prior, operator, y)
