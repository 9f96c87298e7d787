"""k-space of a file: its form, and whether it is what it is taken for."""
