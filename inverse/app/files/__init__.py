"""Files of scanners, microscopes and telescopes: slices in, results in the same format out. One format, one file."""
