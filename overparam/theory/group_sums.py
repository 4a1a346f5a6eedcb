"""The toy problem with a known intrinsic dimension: groups of parameters with prescribed sums."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def group_sum_targets(groups: int = 10) -> NDArray[np.float64]:
    """Targets 1, 2, ..., groups."""
    return np.arange(1.0, groups + 1.0)


def group_sum_loss(theta: NDArray[np.float64], groups: int = 10) -> NDArray[np.float64]:
    """``sum_i (sum of group i - i)^2`` over consecutive groups of equal size.

    The toy problem of Li et al. 2018, section 2. The solutions form an affine space of dimension
    D - groups, so the intrinsic dimension is exactly the number of groups: 10 for D = 1000 in ten.

    Args:
        theta: (..., D).
        groups: Number of groups, a divisor of D.

    Returns:
        Loss (...).

    Raises:
        ValueError: ``groups`` is below 1 or does not divide D.
    """
    residual = _sums(theta, groups) - group_sum_targets(groups)
    return np.asarray(np.square(residual).sum(axis=-1))


def group_sum_minimum(basis: ArrayLike, groups: int = 10) -> float:
    """Least loss over ``theta = P v``: the least-squares residual of ``A P v = (1, ..., groups)``.

    A sums the groups. Zero (up to rounding) when ``A P``, (groups, d), has full row rank, which
    for a random P happens with probability one exactly when d >= groups.

    Args:
        basis: P, (D, d).
        groups: Number of groups, a divisor of D.

    Raises:
        ValueError: ``groups`` is below 1 or does not divide D.
    """
    matrix = _sums(np.asarray(basis, dtype=np.float64).T, groups).T
    targets = group_sum_targets(groups)
    solution = np.linalg.lstsq(matrix, targets)[0]
    return float(np.square(matrix @ solution - targets).sum())


def _sums(theta: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    size = theta.shape[-1]
    if groups < 1 or size % groups:
        raise ValueError(f"groups must be a divisor of {size} parameters, got {groups}")
    return np.asarray(theta.reshape(*theta.shape[:-1], groups, size // groups).sum(axis=-1))
