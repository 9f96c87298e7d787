"""Parts of k-space that were measured with another gain: halves, blocks or every other line, as of several shots."""

import math

import torch
from torch import Tensor

INNER, LEAST = 3, 24  # samples around k = 0 that are left out; lines that are compared
ABOVE = 2.0  # times the noise: power of a line
EDGE, FAR = 1 / 16, 0.8  # share of a line at both ends, and half sides, where noise is seen
HALF, STEP, EVERY_OTHER = (0.36, 3.2), (0.46, 3.8), (0.42, 5.0)  # least step of log power, and in standard errors
PLACES = (-0.5, 0.0, 0.5)  # half sides: where a shot may end, of two at 0


def gains(z: Tensor, mask: Tensor, axis: int) -> list[tuple[int | str, float, float]]:
    """Steps of the power of k-space between its lines, which that of a picture of smooth phase does not have.

    Formula: log E(k) of the lines' power E, less that of the noise, is fitted by 1, log |k|, log^2 |k|, 1 / |k|,
    sign(k) / |k|, which a smooth phase makes, and in turn by a step at each of `PLACES` and by (-1)^k.
    Arguments: z (coils, H, W) complex, 0 where not measured; mask (H, W) bool; axis: -1 compares columns, -2 rows.
    Returns: where the gain changes, the step of log power there, and its standard error. Empty for fewer than 24 lines
    that were measured as a whole.
    """
    power = z.abs().double().square().sum(0)
    if axis == -2:
        power, mask = power.mT, mask.mT
    height, width = power.shape
    known = mask.any(0)
    if not bool((mask.all(0) | ~known).all()):
        return []
    k = torch.arange(width) - width // 2
    rows = max(2, round(EDGE * height))
    edge = torch.cat([power[:rows], power[-rows:]])
    far = known & (k.abs() > FAR * width / 2)
    noise = float((edge[:, far] if bool(far.any()) else edge[:, known]).median()) / math.log(2) if known.any() else 0.0
    level = power.mean(0) - noise
    used = known & (k.abs() >= INNER) & (level > (ABOVE - 1) * noise) & (level > 0)
    if int(used.sum()) < LEAST:
        return []
    k, level = k[used].double(), level[used].log()
    reach = min(float(k.max()), -float(k.min()))  # beyond it, one side alone tells of the fall of power
    found = []
    for name in ("every other", *(round(p * width / 2) for p in PLACES)):
        even = (k % 2 == 0) if name == "every other" else k >= name
        near = torch.ones_like(even) if name in ("every other", 0) else k.abs() <= reach
        if min(int(even[near].sum()), int((~even)[near].sum())) < LEAST / 4:
            continue
        a, step = k[near].abs(), even[near].double() - 0.5
        x = torch.stack([torch.ones_like(a), a.log(), a.log().square(), 1 / a, k[near].sign() / a, step], 1)
        inverse = torch.linalg.pinv(x.mT @ x)
        b = inverse @ (x.mT @ level[near])
        freedom = max(len(x) - x.shape[1], 1)
        error = float(((level[near] - x @ b).square().sum() / freedom * inverse[-1, -1]).sqrt())
        found.append((name, float(b[-1]), error))
    return found


def uneven(z: Tensor, mask: Tensor) -> str:
    """A message if a part of the lines of k-space has another gain than the others; "" if not.

    Arguments: z (coils, H, W) complex; mask (H, W) bool.
    """
    found = []
    for axis, lines in ((-1, "columns"), (-2, "rows")):
        for at, step, error in gains(z, mask, axis):
            least, sure = {"every other": EVERY_OTHER, 0: HALF}.get(at, STEP)
            if abs(step) > max(least, sure * error):
                found.append((abs(step) / max(error, 1e-12), at, step, lines))
    if not found:
        return ""
    _, at, step, lines = max(found)
    where = f"even {lines}" if at == "every other" else f"{lines} from {at} on"
    return (
        f"the signal of the {where}, counted from k = 0, is about {math.exp(step / 2):.2g} times that of the others at "
        "the same distance from it: shots or averages of different gain, or decay between them. Divide them by it, or "
        "leave one part out of the mask"
    )
