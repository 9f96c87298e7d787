"""The console script `inverse`: it imports what a command needs when that is called."""

from priors import later


def main() -> None:
    """Run `inverse.cli`."""
    later.start("inverse.cli")
