"""Benchmarks of trained priors, one file per experiment."""
