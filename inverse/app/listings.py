"""The tables of `inverse priors`, `inverse operators` and `inverse methods`."""

import operators
import priors
from inverse.app.operator_help import show
from inverse.app.tables import print_table
from inverse.methods import METHODS
from priors.checkpoints import SHIPPED, read_card
from priors.terminal import explained


def list_priors() -> None:
    """List the shipped priors."""
    rows = []
    for name in priors.available():
        card = read_card(SHIPPED / name)
        rows.append(
            {
                "name": name,
                "shape": str(tuple(card["event_shape"])),
                "SDE": card["sde"]["type"],
                "parameters": f"{card['parameters']:,}",
                "data": card["data"],
                "licence": card["licence"],
            }
        )
    print_table("priors", rows)


def list_operators(name: str | None) -> None:
    """List the operators, or describe one of them."""
    if name is not None:
        with explained():
            show(name)
        return
    rows = []
    for name in operators.available():
        summary = (operators.get(name).__doc__ or "").strip().split("\n")[0]
        rows.append({"name": name, "what it measures": summary})
    print_table("operators", rows)
    rows = [
        {"name": name, "what it measures": (operators.get(name).__doc__ or "").strip().split("\n")[0]}
        for name in operators.available(volumes=True)
    ]
    print_table("operators of volumes, for inverse volume; all others serve it slice by slice", rows)


def list_methods() -> None:
    """List the methods."""
    rows = [
        {"name": m.name, "needs": ", ".join(sorted(m.needs)) or "-", "steps": str(m.n_steps), "paper": m.citation}
        for m in METHODS.values()
    ]
    print_table("methods", rows)
