"""What command lines show as defaults. It imports nothing heavy, so that a help text comes at once."""

from pathlib import Path

CONFIGS = Path(__file__).parents[1] / "configs"  # benchmarks in TOML
SHOWN = 12  # images per problem in a gallery
TOLERANCE = 0.01  # of the old value: a worsening up to this is no regression
