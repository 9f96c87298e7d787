"""Command lines, pictures, and input files."""
