"""Networks that other people trained, and denoisers of any kind, as priors in image units."""
