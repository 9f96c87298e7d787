"""`inverse volume`: posterior samples of a volume, from projections or from a stack of measured slices."""
