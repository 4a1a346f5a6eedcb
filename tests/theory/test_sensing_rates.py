"""The laws of factored descent against their scalar recursions and a Monte-Carlo floor."""

import numpy as np
import pytest

from overparam.theory.sensing import recovery_noise_floor, sensing_rates


def test_symmetric_law_is_the_limit_of_the_null_direction_recursion():
    x, eta, steps = 0.4, 0.1, 200000
    for _ in range(steps):
        x -= eta * x**3
    law = sensing_rates(5, 2, eta, steps).symmetric_err2
    assert 3 * x**4 == pytest.approx(law, rel=1e-3)


def test_accelerated_law_is_best_where_both_directions_are_equally_fast():
    factors = [
        sensing_rates(4, 2, 0.1, 1, beta=b, sigma_r=0.25).accelerated_factor
        for b in (0.3, 0.5, 0.8)
    ]
    assert min(factors) == factors[1] == pytest.approx((1 - 0.1 * 0.25) ** 2)


def test_noise_floor_against_least_squares_on_the_tangent_space():
    rng = np.random.default_rng(0)
    n, r, m, sigma = 6, 1, 60, 0.1
    floor = recovery_noise_floor(n, n, r, sigma, m)
    d = r * (2 * n - r)
    errors = []
    for _ in range(4000):
        A = rng.standard_normal((m, d)) / np.sqrt(m)
        errors.append((np.linalg.lstsq(A, sigma * rng.standard_normal(m))[0] ** 2).sum())
    assert np.mean(errors) == pytest.approx(floor, rel=0.03)
    assert recovery_noise_floor(n, n, 2, sigma, symmetric=True) == pytest.approx(sigma**2 * 11)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sensing_rates(2, 3, 0.1, 1), "r must be in 1..k"),
        (lambda: sensing_rates(3, 2, 0.0, 1), "eta"),
        (lambda: sensing_rates(3, 2, 0.1, 0), "t must be > 0"),
        (lambda: sensing_rates(3, 2, 0.1, 1, beta=1.0), "sigma_r"),
        (lambda: sensing_rates(3, 2, 0.1, 1, sigma_min_F=-1.0), "sigma_min_F"),
        (lambda: recovery_noise_floor(4, 4, 5, 0.1), "rank"),
        (lambda: recovery_noise_floor(4, 5, 1, 0.1, symmetric=True), "n1 == n2"),
        (lambda: recovery_noise_floor(4, 4, 1, -0.1), "noise"),
        (lambda: recovery_noise_floor(4, 4, 1, 0.1, m=8), "m must exceed d"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
