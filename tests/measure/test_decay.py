"""Fits of decaying series that follow a known law."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overparam.measure.decay import TooFewPointsError, fit_decay, steps_until
from overparam.training.factor_trace import log_spaced_steps

T = log_spaced_steps(8000)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.5, 5), st.floats(1e-3, 1e3))
def test_a_power_law_is_found(slope, constant):
    value = constant * np.maximum(T, 1.0) ** -slope
    fit = fit_decay(T, value)
    assert fit.law == "power" and fit.powerlaw_slope == pytest.approx(-slope)
    assert fit.powerlaw_r2 == pytest.approx(1) and fit.plateau is None


@settings(max_examples=40, deadline=None)
@given(st.floats(5e-4, 0.5), st.floats(1e-3, 1e3))
def test_an_exponential_is_found_even_when_it_ends_in_rounding(rate, constant):
    value = constant * np.exp(-rate * T) + 1e-31
    fit = fit_decay(np.arange(8001), constant * np.exp(-rate * np.arange(8001)) + 1e-31)
    assert fit.law == "exponential" and fit.exp_rate == pytest.approx(rate, rel=1e-4)
    assert fit.plateau is None and fit.first >= 0.25 * fit.last - 1
    assert fit_decay(T, value).exp_rate == pytest.approx(rate, rel=1e-4)


@pytest.mark.parametrize("level", [1e-13, 1e-6])
def test_a_plateau_is_not_taken_for_a_rate(level):
    fit = fit_decay(T, np.exp(-0.02 * T) + level)
    assert fit.plateau == pytest.approx(level, rel=1e-3)
    assert fit.law == "exponential" and fit.exp_rate == pytest.approx(0.02, rel=0.02)
    assert fit_decay(T, np.full(len(T), level)).law == "plateau"


def test_r2_is_that_of_the_regression():
    rng = np.random.default_rng(0)
    value = np.exp(-1e-3 * T + 0.3 * rng.standard_normal(len(T)))
    fit = fit_decay(T, value)
    chosen = np.isin(T, np.arange(fit.first, fit.last + 1))
    assert fit.points == chosen.sum()
    r = np.corrcoef(T[chosen], np.log(value[chosen]))[0, 1]
    assert fit.exp_r2 == pytest.approx(r**2)


def test_steps_until_a_level_is_interpolated_or_continued():
    value = np.exp(-0.01 * T)
    assert steps_until(T, value, 1e-2) == pytest.approx(np.log(100) / 0.01)
    early = T < 200
    assert steps_until(T[early], value[early], 1e-2, 0.01) == pytest.approx(np.log(100) / 0.01)
    assert steps_until(T[early], value[early], 1e-2) == np.inf
    assert steps_until([3, 5], [1.0, 0.0], 0.1) == 5 and steps_until([3, 5], [0.0, 0.0], 0.1) == 3


def test_a_tail_of_two_points_has_an_error_of_its_own():
    with pytest.raises(TooFewPointsError, match="2 points"):
        fit_decay([1, 2], [1.0, 0.5])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fit_decay([1, 2], [1.0]), "equally long"),
        (lambda: fit_decay([1, 2, 3], [1.0, np.nan, 1.0]), "finite"),
        (lambda: fit_decay([1, 2, 3], [1.0, -1.0, 1.0]), ">= 0"),
        (lambda: fit_decay([1, 3, 2], [1.0, 1.0, 1.0]), "increasing"),
        (lambda: fit_decay([1, 2, 3], [1.0, 1.0, 1.0], floor=0.0), "floor"),
        (lambda: fit_decay([1, 2, 3], [1e-30, 1e-30, 1e-30]), "0 points above"),
        (lambda: steps_until([1, 2], [1.0], 0.1), "equally long"),
        (lambda: steps_until([1, 2], [1.0, 0.5], 0.0), "level"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
