"""Records, intervals and baselines that all benchmarks share."""
