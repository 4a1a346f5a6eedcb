"""The audit finds and repairs what the test at the centre of a bin is blind to."""

import numpy as np
import pytest
from scipy.stats import beta

from overparam.measure.spline_violation import spline_violation
from overparam.science.autoknots import autoknots
from overparam.science.grid_spline import grid_spline
from overparam.science.knot_audit import audit_knots


def odd(x):
    return x / (1 + x**2)


def test_an_odd_function_fools_the_search_and_the_audit_repairs_it():
    fooled = autoknots(odd, -1000, 1000, 1e-5, 0.1, space="asinh")
    assert spline_violation(fooled, odd, 1e-5, 0.1).max_ratio > 1000
    report = audit_knots(fooled, odd, n_points=10_000, repair=False)
    assert report.result is fooled and not report.passed
    assert report.rounds[0].tested == len(fooled.x) - 1
    assert report.rounds[0].worst_ratio > 1000 and abs(report.rounds[0].worst_x) < 5

    audit = audit_knots(fooled, odd, n_points=10_000)
    assert audit.passed and audit.rounds[-1].violations == 0
    assert spline_violation(audit.result, odd, 1e-5, 0.1).max_ratio <= 1
    assert audit.result.n_eval == len(audit.result.x)
    assert np.isin(fooled.x, audit.result.x).all()
    np.testing.assert_array_equal(audit.result.y, odd(audit.result.x))


def test_rate_and_interval_are_those_of_clopper_and_pearson():
    coarse = autoknots(lambda x: np.tanh(50 * (x - 0.3)) + 1.5, 0, 1, 1e-3)
    report = audit_knots(coarse, lambda x: np.tanh(50 * (x - 0.3)) + 1.501, 40, 3, repair=False)
    one = report.rounds[0]
    assert one.tested == 40 and one.rate == one.violations / 40 > 0
    assert one.low == pytest.approx(beta.ppf(0.025, one.violations, 41 - one.violations))


def test_random_points_follow_the_seed():
    result = autoknots(np.exp, 0, 5, 1e-4)
    runs = [audit_knots(result, np.exp, 20, seed, repair=False).rounds[0] for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_bad_input_is_refused():
    result = autoknots(np.exp, 0, 5)
    with pytest.raises(ValueError, match="comes from a grid"):
        audit_knots(grid_spline(np.exp, 0, 5, 9), np.exp)
    for options in ({"n_points": 0}, {"max_rounds": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match="n_points and max_rounds must be >= 1"):
            audit_knots(result, np.exp, **options)
