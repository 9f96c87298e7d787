"""Benchmarks of trained priors, one file an experiment."""
