"""Scans in fastMRI's HDF5 layout, and their reconstructions: the public names of `inverse.app.fastmri` and
`inverse.app.reconstruction`."""

from inverse.app.fastmri import Problem, Scan, noise_level, read_rss, read_scan
from inverse.app.reconstruction import Reconstruction, read_reconstruction, write_reconstruction

__all__ = [
    "Problem",
    "Reconstruction",
    "Scan",
    "noise_level",
    "read_reconstruction",
    "read_rss",
    "read_scan",
    "write_reconstruction",
]
