"""Scans in fastMRI's HDF5 layout, and their reconstructions: the public names of `inverse.app.fastmri`."""

from inverse.app.fastmri import Problem, Reconstruction, Scan, noise_level, read_reconstruction, read_rss, read_scan
from inverse.app.fastmri import write_reconstruction as write_reconstruction

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
