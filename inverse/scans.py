"""Scans in fastMRI's HDF5 layout or as ISMRMRD, and their reconstructions: the public names of `inverse.app.fastmri`,
`inverse.app.raw` and `inverse.app.reconstruction`."""

from inverse.app.fastmri import Problem, Scan, noise_level, read_rss, read_scan
from inverse.app.raw import read_raw
from inverse.app.reconstruction import Reconstruction, read_reconstruction, write_reconstruction

__all__ = [
    "Problem",
    "Reconstruction",
    "Scan",
    "noise_level",
    "read_raw",
    "read_reconstruction",
    "read_rss",
    "read_scan",
    "write_reconstruction",
]
