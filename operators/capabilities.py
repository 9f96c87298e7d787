"""Names of what methods may rely on."""

STRUCTURE = frozenset(
    {"linear", "svd", "orthogonal_rows", "differentiable", "entrywise", "generalized_linear", "noisy_likelihood"}
)  # capabilities that the class of an operator declares
NOISE = frozenset({"gaussian", "isotropic", "numeric", "density"})  # capabilities that an operator has from its noise


def modelled(structure: frozenset[str], noise: frozenset[str], linked: frozenset[str]) -> frozenset[str]:
    """The capabilities of an operator: its structure, those of its noise, and "generalized_linear" where the noise has
    a density and what the noise is added to (structure ``linked``) is linear."""
    known = structure | (noise & NOISE)
    return known | {"generalized_linear"} if "linear" in linked and "density" in noise else known
