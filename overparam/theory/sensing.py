"""Convergence laws and noise floors of factored gradient descent for matrix sensing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["SensingRates", "recovery_noise_floor", "sensing_rates"]


@dataclass(frozen=True)
class SensingRates:
    """The three local laws for the isotropic operator; None where an argument was not given.

    Attributes:
        symmetric_err2: ||X X^T - M||_F^2 at step t for k > r.
        asymmetric_factor: factor of ||F G^T - M||_F^2 per step of plain asymmetric descent.
        accelerated_factor: the same after the balance-breaking step.
    """

    symmetric_err2: NDArray[np.float64]
    asymmetric_factor: float | None
    accelerated_factor: float | None


def sensing_rates(
    k: int,
    r: int,
    eta: float,
    t: ArrayLike,
    sigma_min_F: float | None = None,
    beta: float | None = None,
    sigma_r: float | None = None,
) -> SensingRates:
    """Local rates of descent on the factors of a rank-r matrix with factor rank k.

    - symmetric, k > r: (k - r) / (4 eta^2 t^2), from x <- x - eta x^3 along each of the k - r
      null directions;
    - asymmetric: (1 - eta sigma_min(F)^2)^2 per step;
    - after the balance-breaking step: (1 - eta min(beta^2, sigma_r^2 / beta^2))^2 per step, best
      at beta^2 = sigma_r. First order in the error at the switch.

    Derived for A*A = identity; Xiong, Ding and Du, arXiv 2310.01769, Theorems 1 to 3 have the
    same dependence on t, alpha and beta.

    Args:
        k: factor rank.
        r: true rank, 1 <= r <= k.
        eta: step size.
        t: step number(s), > 0.
        sigma_min_F: smallest singular value of F in the tail.
        beta: scale of F after the balance-breaking step; needs ``sigma_r``.
        sigma_r: smallest non-zero singular value of M.

    Raises:
        ValueError: for an argument out of range, or beta without sigma_r.
    """
    if not 1 <= r <= k:
        raise ValueError(f"r must be in 1..k = {k}, got {r}")
    steps = np.asarray(t, dtype=np.float64)
    if not (steps > 0).all():
        raise ValueError(f"t must be > 0, got {t!r}")
    named = {"eta": eta, "sigma_min_F": sigma_min_F, "beta": beta, "sigma_r": sigma_r}
    for name, value in named.items():
        if value is not None and not (value > 0 and np.isfinite(value)):
            raise ValueError(f"{name} must be a finite number > 0, got {value}")
    accelerated = None
    if beta is not None:
        if sigma_r is None:
            raise ValueError("sigma_r must be given with beta")
        accelerated = (1 - eta * min(beta**2, sigma_r**2 / beta**2)) ** 2
    plain = None if sigma_min_F is None else (1 - eta * sigma_min_F**2) ** 2
    return SensingRates((k - r) / (4 * eta**2 * steps**2), plain, accelerated)


def recovery_noise_floor(
    n1: int,
    n2: int,
    rank: int,
    noise: float,
    m: int | None = None,
    symmetric: bool = False,
) -> float:
    """Expected ||M_hat - M||_F^2 of rank-constrained least squares from noisy measurements.

    noise^2 * d * m / (m - d - 1) with d the dimension of the tangent space of the rank-r
    matrices: r (n1 + n2 - r), or r n - r (r - 1)/2 for symmetric ones. The factor beyond
    noise^2 d is the mean inverse of a Wishart matrix (the Gaussian operator restricted to the
    tangent space); it is 1 for the identity operator. First order in the noise.

    Args:
        n1, n2: shape of M.
        rank: rank of the estimate.
        noise: standard deviation of each measurement's error.
        m: number of Gaussian measurements with entries N(0, 1/m); None for the identity.
        symmetric: the estimate is symmetric (measurements through sym(A_i)).

    Raises:
        ValueError: for sizes out of range, or m <= d + 1, where no floor exists.
    """
    if not 1 <= rank <= min(n1, n2):
        raise ValueError(f"rank must be in 1..{min(n1, n2)}, got {rank}")
    if symmetric and n1 != n2:
        raise ValueError(f"symmetric needs n1 == n2, got {n1} and {n2}")
    if not noise >= 0:
        raise ValueError(f"noise must be >= 0, got {noise}")
    d = rank * n1 - rank * (rank - 1) // 2 if symmetric else rank * (n1 + n2 - rank)
    if m is None:
        return noise**2 * d
    if m <= d + 1:
        raise ValueError(f"m must exceed d + 1 = {d + 1} for rank {rank}, got {m}")
    return noise**2 * d * m / (m - d - 1)
