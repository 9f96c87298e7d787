"""No measurement: the posterior is the prior."""

from inverse.protocols import Guidance, Posterior


class Unconditional(Guidance):
    """The prior alone: neither operator nor y is used.

    Source: Song et al. 2021, algorithm 1.
    """

    conditional = False
    citation = (
        "Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole: Score-Based Generative Modeling through SDEs, ICLR 2021"
    )

    def posterior(self, prior, operator, y, rng=None):
        return Posterior(prior, operator, y)
