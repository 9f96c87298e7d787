"""Coils that were written as slices are told from slices."""

import warnings

import h5py
import numpy as np
import pytest
import torch

import priors
from inverse.app.fastmri import read_scan
from inverse.app.kspace.slices import CoilsAsSlices, one_picture
from inverse.app.scan_text import coils_as_slices
from operators.coils import smooth_sensitivities
from operators.kspace import fftc

PICTURES = priors.samples("brain-mri").floats()[:, 0]
SIZE = (64, 64)
WHOLE = torch.ones(1, *SIZE, dtype=torch.bool)


def noisy(z, seed, sigma=0.01):
    noise = torch.randn(*z.shape, 2, generator=torch.Generator().manual_seed(seed))
    return z + sigma * torch.view_as_complex(noise)


@pytest.mark.parametrize("coils", [2, 4, 8])
def test_coils_are_one_picture(coils):
    found = []
    for n, x in enumerate(PICTURES):
        z = noisy(fftc((smooth_sensitivities(coils, SIZE) * x).to(torch.complex64)), n)
        found.append(one_picture(z, WHOLE.expand(coils, *SIZE)))
    assert sum(found) >= len(found) - 1


def test_slices_are_not():
    """Unlike ones; and those of one volume, here the same picture that grows, with a surface coil at one side."""
    coil = smooth_sensitivities(4, SIZE)[0]
    for n, x in enumerate(PICTURES):
        unlike = PICTURES.roll(n, 0)[:4].to(torch.complex64)
        grown = [
            torch.nn.functional.interpolate(x[None, None], scale_factor=1 + k / 20)[0, 0, :64, :64] for k in range(4)
        ]
        alike = torch.stack(grown).to(torch.complex64)
        for volume in (unlike, alike, coil * alike):
            assert not one_picture(noisy(fftc(volume), n), WHOLE.expand(4, *SIZE))


def test_the_caution_is_of_files_without_coils(tmp_path):
    z = noisy(fftc((smooth_sensitivities(4, SIZE) * PICTURES[0]).to(torch.complex64)), 0).numpy().astype(np.complex64)
    for name, values, said in (("slices", z, True), ("coils", z[None], False), ("one", z[:1], False)):
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w") as file:
            file["kspace"] = values
        text = coils_as_slices(path, len(values))
        assert ("those of coils" in text) == said and bool(text) == said
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            read_scan(path)
        assert any(issubclass(one.category, CoilsAsSlices) for one in caught) == said
