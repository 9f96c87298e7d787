"""The console scripts `inverse-train` and `inverse-pack`: they import what a command needs when that is called."""

from priors import later


def train() -> None:
    """Run `priors.cli`."""
    later.start("priors.cli")


def pack() -> None:
    """Run `priors.packing`."""
    later.start("priors.packing")
