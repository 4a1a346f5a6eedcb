"""Closed forms of halos against quadrature, their limits and each other."""

import numpy as np
import pytest
from scipy.integrate import quad

from overparam.theory.halo import (
    rho_hernquist,
    rho_nfw,
    sigma_bar_hernquist,
    sigma_bar_nfw,
    sigma_hernquist,
    sigma_nfw,
)

ALL = (sigma_nfw, sigma_bar_nfw, sigma_hernquist, sigma_bar_hernquist)


def test_limits_at_the_scale_radius():
    values = [float(sigma(1.0)) for sigma in ALL]
    np.testing.assert_allclose(values, [2 / 3, 4 * (1 - np.log(2)), 4 / 15, 2 / 3], rtol=1e-15)


@pytest.mark.parametrize("sigma", ALL)
def test_smooth_where_the_series_takes_over_and_around_one(sigma):
    for x in (np.sqrt(0.6), 1.0, np.sqrt(1.4)):
        below, at, above = sigma(np.array([x * (1 - 1e-7), x, x * (1 + 1e-7)]))
        assert abs(below + above - 2 * at) < 1e-12
        assert below > at > above


@pytest.mark.parametrize(("rho", "sigma"), [(rho_nfw, sigma_nfw), (rho_hernquist, sigma_hernquist)])
@pytest.mark.parametrize("x", [1e-3, 0.1, 0.77, 0.99, 1.001, 1.19, 3.0, 50.0])
def test_surface_density_is_the_projection_of_the_density(rho, sigma, x):
    value = quad(
        lambda u: 2 * x * np.cosh(u) * rho(x * np.cosh(u)), 0, 60, epsabs=0, epsrel=1e-13, limit=500
    )[0]
    assert float(sigma(x)) == pytest.approx(value, rel=1e-11)


@pytest.mark.parametrize(
    ("bar", "sigma"), [(sigma_bar_nfw, sigma_nfw), (sigma_bar_hernquist, sigma_hernquist)]
)
@pytest.mark.parametrize("x", [1e-5, 1e-2, 0.5, 0.8, 1.0, 1.3, 20.0])
def test_mean_surface_density_is_the_mean_of_the_surface_density(bar, sigma, x):
    inside = quad(
        lambda s: np.exp(2 * s) * sigma(np.exp(s)),
        np.log(x) - 40,
        np.log(x),
        epsabs=0,
        epsrel=1e-13,
        limit=500,
    )[0]
    assert float(bar(x)) == pytest.approx(2 * inside / x**2, rel=1e-10)


@pytest.mark.parametrize("function", [*ALL, rho_nfw, rho_hernquist])
def test_bad_radii_are_refused(function):
    for x in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="x must be finite and > 0"):
            function([1.0, x])
