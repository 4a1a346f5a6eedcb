"""Projected densities of NFW and Hernquist halos in closed form, in units rho_s = r_s = 1.

With w = 1 - x^2 both profiles are built from X(x) = arsech(x) / sqrt(w) = artanh(sqrt w) / sqrt w,
which goes on as arctan(sqrt -w) / sqrt(-w) for x > 1 and is sum_j w^j / (2 j + 1) around x = 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]

__all__ = [
    "rho_hernquist",
    "rho_nfw",
    "sigma_bar_hernquist",
    "sigma_bar_nfw",
    "sigma_hernquist",
    "sigma_nfw",
]

# Below this |w| the closed forms cancel and the series takes over; its terms fall faster than
# SERIES_BELOW ** j, so that 40 of them reach rounding.
SERIES_BELOW = 0.4
TERMS = np.arange(40)


def rho_nfw(x: ArrayLike) -> Float:
    """NFW density 1 / (x (1 + x)^2)."""
    r = _radius(x)
    return np.asarray(1 / r / (1 + r) ** 2)


def rho_hernquist(x: ArrayLike) -> Float:
    """Hernquist density 1 / (x (1 + x)^3)."""
    r = _radius(x)
    return np.asarray(1 / r / (1 + r) ** 3)


def sigma_nfw(x: ArrayLike) -> Float:
    """Surface density of an NFW halo: 2 (1 - X) / (x^2 - 1), 2/3 at x = 1.

    Wright and Brainerd, ApJ 534 (2000), equation 11.

    Raises:
        ValueError: for a radius that is not finite and positive.
    """
    return _mean_of_x(_radius(x))


def sigma_bar_nfw(x: ArrayLike) -> Float:
    """Mean surface density of an NFW halo inside x: 4 (ln(x/2) + X) / x^2.

    Wright and Brainerd, ApJ 534 (2000), equation 13; at small x in a form whose logarithms do
    not cancel.
    """
    r = _radius(x)
    w = 1 - r**2
    small = w > SERIES_BELOW
    s = np.where(small, r, 0.5)
    q = np.sqrt(1 - s**2)
    # ln(x/2) + ln((1+q)/x)/q with 1/q - 1 = x^2/(q(1+q)) and (1+q)/2 = 1 - x^2/(2(1+q)).
    inner = np.log1p(-(s**2) / (2 * (1 + q))) + s**2 / (q * (1 + q)) * np.log((1 + q) / s)
    total = np.where(small, inner, np.log(r / 2) + _x_function(r))
    return np.asarray(4 * total / r**2)


def sigma_hernquist(x: ArrayLike) -> Float:
    """Surface density of a Hernquist halo: ((2 + x^2) X - 3) / (1 - x^2)^2, 4/15 at x = 1.

    Hernquist, ApJ 356 (1990), equation 32. The closed form loses digits like w^-2 around x = 1;
    there its series sum_j 4 (j + 1) w^j / ((2 j + 3)(2 j + 5)) is used.
    """
    r = _radius(x)
    w = 1 - r**2
    near = np.abs(w) < SERIES_BELOW
    series = _series(np.where(near, w, 0.0), 4 * (TERMS + 1) / ((2 * TERMS + 3) * (2 * TERMS + 5)))
    safe = np.where(near, 1.0, w)
    return np.asarray(np.where(near, series, ((2 + r**2) * _x_function(r) - 3) / safe**2))


def sigma_bar_hernquist(x: ArrayLike) -> Float:
    """Mean surface density of a Hernquist halo inside x: 2 (X - 1) / (1 - x^2), 2/3 at x = 1.

    Hernquist, ApJ 356 (1990), equation 37.
    """
    return _mean_of_x(_radius(x))


def _mean_of_x(r: Float) -> Float:
    """2 (X - 1) / w, the series 2 sum_j w^j / (2 j + 3) around w = 0."""
    w = 1 - r**2
    near = np.abs(w) < SERIES_BELOW
    series = _series(np.where(near, w, 0.0), 2 / (2 * TERMS + 3))
    return np.asarray(np.where(near, series, 2 * (_x_function(r) - 1) / np.where(near, 1.0, w)))


def _x_function(r: Float) -> Float:
    w = 1 - r**2
    near = np.abs(w) < SERIES_BELOW
    series = _series(np.where(near, w, 0.0), 1 / (2 * TERMS + 1))
    root = np.sqrt(np.where(near, 1.0, np.abs(w)))
    inside = np.log((1 + root) / r) / root
    return np.asarray(np.where(near, series, np.where(w > 0, inside, np.arctan(root) / root)))


def _series(w: Float, coefficients: Float) -> Float:
    return np.asarray(np.polynomial.polynomial.polyval(w, coefficients))


def _radius(x: ArrayLike) -> Float:
    r = np.asarray(x, dtype=np.float64)
    if not (np.isfinite(r) & (r > 0)).all():
        raise ValueError(f"x must be finite and > 0, got {x!r}")
    return r
