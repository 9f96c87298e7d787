"""Factors of intervals with a guarantee for finitely many pictures: conformal prediction and risk control."""

import math

from torch import Tensor

from priors.arguments import number

HALVINGS = 60


def split(scores: Tensor, level: float) -> float:
    """The factor that covers one number of a new picture with probability ``level`` at least.

    Formula: the k-th smallest score, k = ceil((n + 1) level); a new score is at most that with probability
    k / (n + 1) at least, if it is exchangeable with the others.
    Source: Vovk, Gammerman & Shafer 2005; Lei et al. 2018.
    Arguments: scores (n,); level in (0, 1).
    Raises: ValueError for fewer than level / (1 - level) scores.
    """
    n, level = len(scores), number("level", level, "(0, 1)")
    k = math.ceil((n + 1) * level - 1e-9)
    if k > n:
        raise ValueError(f"{n} scores: level {level:g} needs {_split_fewest(level)} or more")
    return float(scores.sort().values[k - 1])


def averaged(scores: Tensor, risk: float) -> float:
    """The factor for which the part of a new picture's pixels outside is ``risk`` at most, on average.

    Formula: the least f with (sum_i L_i(f) + 1) / (n + 1) <= risk, L_i(f) the part of scores of picture i above f.
    Source: Angelopoulos, Bates, Fisch, Lei & Schuster 2024 (conformal risk control).
    Arguments: scores (n, d) of d pixels; risk in (0, 1).
    Raises: ValueError for fewer than 1 / risk - 1 pictures.
    """
    n, risk = len(scores), number("risk", risk, "(0, 1)")
    allowed = (risk * (n + 1) - 1) / n
    if allowed < -1e-9:
        raise ValueError(f"{n} pictures: risk {risk:g} needs {_average_fewest(risk)} or more")
    return _least(scores, max(allowed, 0.0))


def confident(scores: Tensor, risk: float, delta: float) -> float:
    """The factor for which the expected part of a new picture's pixels outside is ``risk`` at most, with probability
    1 - ``delta`` over the calibration.

    Formula: the least f for which the mean L of the n losses has p(L) <= delta, with the p-value of Hoeffding and
    Bentkus of a risk above ``risk`` = r: min(exp(-n h(L, r)), e P(Bin(n, r) <= ceil(n L))), h(a, b) the relative
    entropy of two coins, for L < r.
    Source: Bates, Angelopoulos, Lei, Malik & Jordan 2021, section 3.1.
    Arguments: scores (n, d) of d pixels; risk, delta in (0, 1).
    Raises: ValueError for fewer than log delta / log(1 - risk) pictures.
    """
    n, risk, delta = len(scores), number("risk", risk, "(0, 1)"), number("delta", delta, "(0, 1)")
    if risk_p(0.0, n, risk) > delta * (1 + 1e-12):
        raise ValueError(
            f"{n} pictures: risk {risk:g} and delta {delta:g} need {_confident_fewest(risk, delta)} or more"
        )
    low, high = 0.0, risk
    for _ in range(HALVINGS):  # the p-value rises with the loss
        middle = (low + high) / 2
        low, high = (middle, high) if risk_p(middle, n, risk) <= delta else (low, middle)
    return _least(scores, low)


def risk_p(loss: float, n: int, risk: float) -> float:
    """The p-value of an expected loss above ``risk``, given the mean of n independent losses in [0, 1].

    Formula and source: as `confident`.
    Arguments: loss in [0, 1]; n; risk in (0, 1).
    """
    if loss >= risk:
        return 1.0
    entropy = (loss * math.log(loss / risk) if loss > 0 else 0.0) + (1 - loss) * math.log((1 - loss) / (1 - risk))
    k = math.ceil(n * loss - 1e-9)
    logs = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(k + 1)]
    tail = sum(math.exp(c + i * math.log(risk) + (n - i) * math.log1p(-risk)) for i, c in enumerate(logs))
    return min(1.0, math.exp(-n * entropy), math.e * tail)


def fewest(level: float, guarantee: str, delta: float) -> int:
    """How many pictures a calibration needs at least, for pixels and for single numbers.

    Arguments: level in (0, 1) of the coverage; guarantee: "average" or "confident"; delta of the latter.
    """
    pixels = _average_fewest(1 - level) if guarantee == "average" else _confident_fewest(1 - level, delta)
    return max(pixels, _split_fewest(level))


def enough(level: float, guarantee: str, delta: float) -> int:
    """How many pictures a calibration needs for one of them to be an outlier: with fewer, the largest score of single
    numbers is their factor, and the one of pixels must cover some pixels of every picture.

    Formula: the least n at which a mean loss of 1 / n, all pixels of one picture, is allowed; for "average" and for
    single numbers it is 2 / (1 - level) - 1.
    Arguments: as `fewest`.
    """
    risk = 1 - level
    found = max(fewest(level, guarantee, delta), math.ceil(2 / risk - 1 - 1e-9))
    while guarantee == "confident" and risk_p(1 / found, found, risk) > delta:
        found += 1
    return found


def _split_fewest(level: float) -> int:
    return max(1, math.ceil(level / (1 - level) - 1e-9))


def _average_fewest(risk: float) -> int:
    return max(1, math.ceil(1 / risk - 1 - 1e-9))


def _confident_fewest(risk: float, delta: float) -> int:
    return max(1, math.ceil(math.log(delta) / math.log1p(-risk) - 1e-9))


def _least(scores: Tensor, allowed: float) -> float:
    """The least factor with at most a part ``allowed`` of all scores (n, d) above it."""
    ordered = scores.flatten().sort().values
    above = math.floor(allowed * len(ordered) + 1e-6)
    return float(ordered[len(ordered) - 1 - above]) if above < len(ordered) else 0.0
