"""Many measurements: solved in parts by any number of processes, and what is finished survives."""

from inverse.app.batch.results import BatchResults, Rows
from inverse.app.batch.solving import solve_batch

__all__ = ["BatchResults", "Rows", "solve_batch"]
