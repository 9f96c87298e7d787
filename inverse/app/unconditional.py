"""`inverse sample` and `inverse likelihood`: commands on a prior alone."""

from pathlib import Path

import torch

import priors
from inverse.app.arguments import read_images
from inverse.app.figures import Column, drawing, gallery
from inverse.app.tables import print_table
from inverse.solve import sample as draw_prior
from priors.data import ImageSet, rounded, write
from priors.likelihood import EXACT_UP_TO, T_MIN
from priors.terminal import explained, printable, say

LIKELIHOOD_BATCH, MOST_ROWS = 16, 20  # images per batch; most images that are listed individually


def sample(
    prior: str, config: str | None, n: int, method: str, steps: int | None, seed: int, out: Path, device: str
) -> None:
    """Draw samples and write them to a folder. Raises: as `priors.load` and `inverse.sample`."""
    p = priors.load(prior, config=config, device=device)
    x = draw_prior(p, n_samples=n, method=method, n_steps=steps, seed=seed)
    write(
        out / "samples.h5",
        ImageSet(
            rounded(x, torch.uint8).cpu(),
            source=printable(f"inverse sample --prior {prior} --method {method} --seed {seed}"),
        ),
    )
    columns = [Column("", column) for column in x.cpu().split(-(-n // 8))]
    with drawing(out / "samples.png"):
        gallery(out / "samples.png", {printable(f"{prior}, {method}"): columns})


def likelihood(
    files: list[Path], prior: str, config: str | None, images: int | None, split: str | None, seed: int, resize: bool,
    device: str,
) -> None:  # fmt: skip
    """Print the bits per dimension of images."""
    with explained():
        p = priors.load(prior, config=config, device=device)
        names, x = read_images(files, p.event_shape, split, resize, images)
        bits = priors.bits_per_dim(p, x.to(p.device), seed, batch_size=LIKELIHOOD_BATCH).cpu()
    if len(bits) <= MOST_ROWS:
        rows = [{"image": name, "bits/dim": f"{b:.3f}"} for name, b in zip(names, bits.tolist(), strict=True)]
        print_table("likelihood", rows)
    error = f" +- {bits.std() / len(bits) ** 0.5:.3f} (standard error)" if len(bits) > 1 else ""
    how = "with an exact trace" if x[0].numel() <= EXACT_UP_TO else f"by one probe each, seed {seed}"
    say(f"{bits.mean():.3f}{error} bits/dim of {len(bits)} images, {how}")
    say(f"p is the density at t = {T_MIN:g}, with noise {p.sde.sigma(T_MIN):.2g} on pixels in [0, 1]")
