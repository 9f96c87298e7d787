"""Problems, methods, metrics and seeds: run, kept, reported and compared."""
