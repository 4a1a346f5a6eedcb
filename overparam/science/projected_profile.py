"""Surface density of a spherical profile by numerical projection along the line of sight."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import quad
from scipy.interpolate import CubicSpline

__all__ = ["mean_inside", "mean_inside_error", "projected_profile"]

# cosh(200) = 4e86: beyond it nothing is left, and powers of r would soon overflow.
U_MAX = 200.0
# A profile that is cut off at a scale far below R lives in a narrow range at u = 0.
BREAKS = (0.003, 0.03, 0.3, 3.0, 30.0)


def projected_profile(
    rho: Callable[[float], float], R: ArrayLike, epsrel: float = 1e-12
) -> NDArray[np.float64]:
    """Sigma(R) = 2 int_R^inf rho(r) r dr / sqrt(r^2 - R^2).

    With r = R cosh(u) the integrand 2 R rho(R cosh u) cosh u is smooth at the lower end and falls
    exponentially; adaptive Gauss-Kronrod quadrature (scipy.integrate.quad) does the rest.

    Args:
        rho: density at one radius r > 0, falling like r^-1.2 or faster.
        R: projected radius or radii > 0, any shape.
        epsrel: relative tolerance of the quadrature.

    Returns:
        Sigma, of the shape of R, in units of rho times those of R.

    Raises:
        ValueError: for a radius that is not finite and positive, or an integral that does not
            converge.

    Reference: arXiv 2412.13423, the halo application.
    """
    radii = np.asarray(R, dtype=np.float64)
    if not (np.isfinite(radii) & (radii > 0)).all():
        raise ValueError(f"R must be finite and > 0, got {R!r}")
    if not 0 < epsrel < 1:
        raise ValueError(f"epsrel must be in (0, 1), got {epsrel}")
    values = [_project(rho, float(radius), epsrel) for radius in radii.reshape(-1)]
    return np.array(values).reshape(radii.shape)


def mean_inside(
    R: ArrayLike, sigma: ArrayLike, innermost: float, at: ArrayLike
) -> NDArray[np.float64]:
    """Mean surface density inside a radius, from a table of Sigma alone.

    Sigma-bar(<R) = (2 / R^2) int_0^R R' Sigma(R') dR', with R^2 Sigma interpolated by a cubic
    spline in u = ln R, so that R' Sigma dR' = R'^2 Sigma du is integrated exactly.

    Args:
        R: (n,) increasing radii > 0, n >= 4.
        sigma: (n,) Sigma there.
        innermost: Sigma-bar(<R_0), which the table cannot know.
        at: radii between the first and the last of R.

    Returns:
        Sigma-bar, of the shape of ``at``.

    Raises:
        ValueError: for radii that are not positive and increasing, or ``at`` beyond them.
    """
    radii, density = np.asarray(R, dtype=np.float64), np.asarray(sigma, dtype=np.float64)
    where = np.asarray(at, dtype=np.float64)
    if radii.ndim != 1 or not (radii > 0).all() or (np.diff(radii) <= 0).any():
        raise ValueError("R must be a vector of increasing radii > 0")
    if where.size and not (radii[0] <= where.min() and where.max() <= radii[-1]):
        raise ValueError(f"at must lie in [{radii[0]:g}, {radii[-1]:g}]")
    mass = CubicSpline(np.log(radii), radii**2 * density).antiderivative()
    inner = radii[0] ** 2 * innermost / 2
    return np.asarray(2 / where**2 * (inner + mass(np.log(where)) - mass(np.log(radii[0]))))


def mean_inside_error(
    R: NDArray[np.float64],
    sigma: NDArray[np.float64],
    mean: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    at: NDArray[np.float64],
) -> float:
    """Largest relative error of the mean inside a radius that follows from a table of Sigma.

    Args:
        R, sigma: the table, as for :func:`mean_inside`.
        mean: Sigma-bar(<R) in closed form, vectorised.
        at: (m,) radii; those beyond the table by rounding are taken at its end.
    """
    found = mean_inside(R, sigma, float(mean(R[0])), np.clip(at, R[0], R[-1]))
    return float(np.abs(found / mean(at) - 1).max())


def _project(rho: Callable[[float], float], radius: float, epsrel: float) -> float:
    def integrand(u: float) -> float:
        r = radius * np.cosh(u)
        return float(rho(r) * r)

    value, error, _, *trouble = quad(
        integrand, 0.0, U_MAX, points=BREAKS, epsabs=0.0, epsrel=epsrel, limit=400, full_output=True
    )
    converged = np.isfinite(value) and abs(integrand(U_MAX)) <= 1e-10 * abs(value)
    if not converged or (trouble and error > 1e-8 * abs(value)):
        raise ValueError(f"rho has no convergent projection at R = {radius:g}")
    return 2.0 * float(value)
