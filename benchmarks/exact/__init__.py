"""Benchmarks on problems with a known posterior."""
