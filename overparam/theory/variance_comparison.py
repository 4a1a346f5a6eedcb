"""Vectors of known and of measured kurtosis, and what pruning and sharing make of them.

What :mod:`overparam.theory.sharing_variance` derives, as rows to compare: sharing has the smaller
variance where the kurtosis exceeds the Gaussian's 3.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from overparam.theory.sharing_variance import prune_variance, raw_kurtosis, rps_variance
from overparam.theory.zero_mean_families import FAMILIES, family_draws


class VarianceRow(NamedTuple):
    """Variances of the two estimates of a squared norm from m numbers.

    Attributes:
        source: where the vectors come from.
        kurtosis: about zero.
        var_prune: of keeping m coordinates, :func:`prune_variance`.
        var_rps: of adding coordinates up in m buckets, :func:`rps_variance`.
    """

    source: str
    kurtosis: float
    var_prune: float
    var_rps: float


def vector_variances(source: str, x: ArrayLike, m: int) -> list[VarianceRow]:
    """A row per vector, with its own kurtosis.

    Args:
        source: name of the rows.
        x: vectors (N, n), n >= 2, none of them zero.
        m: size of the memory, 1..n.

    Raises:
        ValueError: x is no table of vectors, and what :func:`prune_variance` and
            :func:`raw_kurtosis` refuse.

    Example:
        >>> vector_variances("flat", [[1.0, 1.0]], 1)
        [VarianceRow(source='flat', kurtosis=1.0, var_prune=0.0, var_rps=4.0)]
    """
    vectors = np.asarray(x, dtype=np.float64)
    if vectors.ndim != 2:
        raise ValueError(f"x has shape {vectors.shape}; expected (N, n)")
    columns = (
        raw_kurtosis(vectors),
        prune_variance(vectors, vectors, m),
        rps_variance(vectors, vectors, m),
    )
    return [
        VarianceRow(source, *values)
        for values in zip(*(column.tolist() for column in columns), strict=True)
    ]


def family_variances(m: int, *, n: int, draws: int, seed: int) -> list[VarianceRow]:
    """A row per distribution of :data:`FAMILIES`: its exact kurtosis, variances in the mean.

    Args:
        m: size of the memory, 1..n.
        n: coordinates of a vector, >= 2.
        draws: vectors of each distribution >= 1.
        seed: of the draws.

    Raises:
        ValueError: draws < 1, and what :func:`prune_variance` refuses.
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}; allowed >= 1")
    rows = []
    for family, (kurtosis, _) in FAMILIES.items():
        x = family_draws(family, draws, n, seed)
        means = prune_variance(x, x, m).mean(), rps_variance(x, x, m).mean()
        rows.append(VarianceRow(family, kurtosis, *map(float, means)))
    return rows
