"""Zero-mean distributions of known kurtosis, from flat to heavy-tailed."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

Draw = Callable[[Generator, tuple[int, int]], NDArray[np.float64]]


def _sparse(share: float) -> Draw:
    """Gaussian with probability ``share``, else 0: kurtosis 3 / share."""
    return lambda rng, size: rng.standard_normal(size) * (rng.random(size) < share)


def _power(exponent: float) -> Draw:
    """Sign times |U|^exponent, U uniform: kurtosis (2 a + 1)^2 / (4 a + 1)."""
    return lambda rng, size: rng.choice((-1.0, 1.0), size) * rng.random(size) ** exponent


FAMILIES: dict[str, tuple[float, Draw]] = {
    "rademacher": (1.0, lambda rng, size: rng.choice((-1.0, 1.0), size)),
    "arcsine": (1.5, lambda rng, size: np.cos(np.pi * rng.random(size))),
    "root": (4 / 3, _power(0.5)),
    "uniform": (1.8, lambda rng, size: rng.uniform(-1, 1, size)),
    "triangular": (2.4, lambda rng, size: rng.triangular(-1, 0, 1, size)),
    "normal": (3.0, lambda rng, size: rng.standard_normal(size)),
    "square": (25 / 9, _power(2.0)),
    "cube": (49 / 13, _power(3.0)),
    "logistic": (4.2, lambda rng, size: rng.logistic(size=size)),
    "student-10": (4.0, lambda rng, size: rng.standard_t(10, size)),
    "student-8": (4.5, lambda rng, size: rng.standard_t(8, size)),
    "laplace": (6.0, lambda rng, size: rng.laplace(size=size)),
    "sparse-half": (6.0, _sparse(0.5)),
    "sparse-tenth": (30.0, _sparse(0.1)),
    "power-5": (121 / 21, _power(5.0)),
}
"""Name to kurtosis and sampler."""


def family_draws(family: str, draws: int, n: int, seed: int) -> NDArray[np.float64]:
    """Draw vectors with independent coordinates.

    Args:
        family: a name of :data:`FAMILIES`.
        draws: number of vectors.
        n: length of a vector.
        seed: of the draws.

    Returns:
        Vectors (draws, n).

    Raises:
        ValueError: unknown family.
    """
    if family not in FAMILIES:
        raise ValueError(f"family is {family!r}; allowed {', '.join(FAMILIES)}")
    return FAMILIES[family][1](Generator(Philox(key=seed)), (draws, n))
