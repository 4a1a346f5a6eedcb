r"""Pruning against parameter sharing on inner products: two unbiased estimates, two variances.

To know :math:`\langle x, y \rangle` from m numbers instead of n, one can keep m coordinates at
random (pruning) or add coordinates up in m signed buckets (sharing, RANDOMFOLD). Both are unbiased;
which has the smaller variance depends on the kurtosis of the data alone when x = y has independent
zero-mean coordinates: sharing wins above the Gaussian's 3. This is the linear case of Desai &
Shrivastava (ICLR 2024); the formulas are derived here and checked by simulation in the tests.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def prune_variance(x: ArrayLike, y: ArrayLike, m: int) -> Floats:
    r"""Variance of the pruning estimate :math:`\frac{n}{m} \sum_{i \in S} x_i y_i`.

    S is uniform among the subsets of size m:
    :math:`\mathrm{Var} = \frac{n (n - m)}{m} s^2`, with :math:`s^2` the sample variance (n - 1 in
    the denominator) of the products :math:`x_i y_i`.

    Args:
        x: vectors along the last axis, (..., n), n >= 2.
        y: vectors of the same shape.
        m: size of the memory, 1..n.

    Returns:
        Variances, shape (...).

    Raises:
        ValueError: shapes that differ, n < 2, m outside 1..n, values that are not finite.
    """
    x, y = _vectors(x, y, m)
    n = x.shape[-1]
    return np.asarray(n * (n - m) / m * np.var(x * y, axis=-1, ddof=1))


def rps_variance(x: ArrayLike, y: ArrayLike, m: int) -> Floats:
    r"""Variance of the sharing estimate, a sum over buckets of products of signed sums.

    The estimate is :math:`\sum_b (\sum_{i \to b} g_i x_i)(\sum_{i \to b} g_i y_i)`.

    With RANDOMFOLD (pieces of length m, an independent uniform cyclic shift each, independent
    signs) two indices of different pieces meet with probability 1/m, those of one piece never:
    :math:`\mathrm{Var} = \frac1m \sum_{i<j,\ \text{different pieces}} (x_i y_j + x_j y_i)^2`.
    Evaluated in O(n): over all pairs of a set the sum is
    :math:`\|x\|^2 \|y\|^2 + \langle x, y \rangle^2 - 2 \sum_i x_i^2 y_i^2`, taken over everything
    less over each piece.

    Args, returns, raises: as :func:`prune_variance`; n need not be a multiple of m.

    Example:
        >>> x = [1.0, 2.0]
        >>> float(rps_variance(x, x, 1)), float(rps_variance(x, x, 2))
        (16.0, 0.0)
    """
    x, y = _vectors(x, y, m)
    starts = np.arange(0, x.shape[-1], m)
    xx, yy, xy, xxyy = (
        np.add.reduceat(a, starts, axis=-1) for a in (x * x, y * y, x * y, (x * y) ** 2)
    )
    everything = xx.sum(-1) * yy.sum(-1) + xy.sum(-1) ** 2 - 2 * xxyy.sum(-1)
    within = (xx * yy + xy**2 - 2 * xxyy).sum(-1)
    # The two are equal for a single piece; rounding must not leave a negative variance.
    return np.asarray(np.maximum(everything - within, 0.0) / m)


def raw_kurtosis(x: ArrayLike) -> Floats:
    r"""Kurtosis about zero, :math:`n \sum x_i^4 / (\sum x_i^2)^2`, 3 for a Gaussian.

    For x = y with independent zero-mean coordinates of variance v the mean variances are
    :math:`\frac{n(n-m)}{m} (K - 1) v^2` for pruning and :math:`\frac{n(n-m)}{m} 2 v^2` for sharing.

    Raises:
        ValueError: a vector of zeros, or values that are not finite.
    """
    x = np.asarray(x, dtype=np.float64)
    power = np.square(x).sum(-1)
    if not np.isfinite(x).all() or not (power > 0).all():
        raise ValueError(
            "x has values that are not finite or a vector of zeros; its kurtosis is undefined"
        )
    return np.asarray(x.shape[-1] * (x**4).sum(-1) / power**2)


def _vectors(x: ArrayLike, y: ArrayLike, m: int) -> tuple[Floats, Floats]:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.shape != y.shape or x.ndim < 1 or x.shape[-1] < 2:
        raise ValueError(
            f"x has shape {x.shape}, y {y.shape}; expected equal shapes (..., n), n >= 2"
        )
    if not 1 <= m <= x.shape[-1]:
        raise ValueError(f"m is {m}; allowed 1..{x.shape[-1]}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("x and y must be finite")
    return x, y
