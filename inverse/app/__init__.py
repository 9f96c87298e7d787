"""Command lines, pictures, and the files that people bring."""
