"""Numerical projection against profiles with a known one."""

import numpy as np
import pytest

from overparam.science.projected_profile import mean_inside, mean_inside_error, projected_profile
from overparam.theory.halo import (
    rho_hernquist,
    rho_nfw,
    sigma_bar_hernquist,
    sigma_bar_nfw,
    sigma_hernquist,
    sigma_nfw,
)

RADII = np.geomspace(1e-2, 1e2, 10)


@pytest.mark.parametrize(("rho", "sigma"), [(rho_nfw, sigma_nfw), (rho_hernquist, sigma_hernquist)])
def test_halos(rho, sigma):
    numeric = projected_profile(lambda r: float(rho(r)), RADII)
    np.testing.assert_allclose(numeric, sigma(RADII), rtol=1e-10)


def test_power_law_and_gaussian():
    R = np.array([[0.3, 2.0]])
    plummer = projected_profile(lambda r: (1 + r * r) ** -2.5, R)
    np.testing.assert_allclose(plummer, 4 / 3 / (1 + R**2) ** 2, rtol=1e-11)
    gauss = projected_profile(lambda r: np.exp(-r * r / 2), R)
    np.testing.assert_allclose(gauss, np.sqrt(2 * np.pi) * np.exp(-(R**2) / 2), rtol=1e-11)
    assert projected_profile(lambda r: np.exp(-r), 1.0).shape == ()


def test_a_profile_cut_off_far_inside_the_radius_is_not_missed():
    numeric = projected_profile(lambda r: np.exp(-((r / 30.0) ** 2 - 1e2) / 2), 300.0)
    np.testing.assert_allclose(numeric, np.sqrt(2 * np.pi) * 30.0, rtol=1e-11)


@pytest.mark.parametrize(
    ("sigma", "bar"), [(sigma_nfw, sigma_bar_nfw), (sigma_hernquist, sigma_bar_hernquist)]
)
def test_the_mean_inside_comes_from_the_table_alone(sigma, bar):
    R = np.geomspace(1e-2, 1e2, 401)
    at = np.geomspace(1e-2, 1e2, 57)
    np.testing.assert_allclose(mean_inside(R, sigma(R), bar(R[0]), at), bar(at), rtol=1e-7)
    # Rounding may put a radius beyond the table; a table of twice Sigma is wrong by the rest.
    assert mean_inside_error(R, sigma(R), bar, np.append(at, 1e2 * (1 + 1e-15))) < 1e-7
    grown = 2 * bar(at) - (R[0] / at) ** 2 * bar(R[0])
    wrong = np.abs(grown / bar(at) - 1).max()
    assert mean_inside_error(R, 2 * sigma(R), bar, at) == pytest.approx(wrong, rel=1e-6)
    with pytest.raises(ValueError, match="increasing"):
        mean_inside(R[::-1], sigma(R), 1.0, at)
    with pytest.raises(ValueError, match="at must lie in"):
        mean_inside(R, sigma(R), 1.0, [1e3])


def test_bad_input_is_refused():
    for radius in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="R must be finite and > 0"):
            projected_profile(lambda r: 1 / r**3, radius)
    with pytest.raises(ValueError, match="no convergent projection at R = 1"):
        projected_profile(lambda r: 1 / r, 1.0)
    with pytest.raises(ValueError, match="epsrel"):
        projected_profile(lambda r: 1 / r**3, 1.0, epsrel=0.0)
