"""The local search in thirds."""

import numpy as np
import pytest

from overparam.measure.spline_violation import spline_violation
from overparam.science.four_point import NEW, WEIGHTS, autoknots_four_point
from overparam.science.knot_sampling import DiscontinuityError


def test_weights_are_exact_for_cubics():
    nodes = np.arange(4) / 3
    for power in range(4):
        np.testing.assert_allclose(WEIGHTS @ nodes**power, NEW**power, atol=1e-14)


def test_a_cubic_closes_after_two_passes_everywhere():
    result = autoknots_four_point(lambda x: x**3 - 2 * x + 5, -1, 2)
    assert [(s.tested, s.failed) for s in result.history] == [(1, 0), (3, 0)]
    np.testing.assert_allclose(result.x, np.linspace(-1, 2, 28), atol=1e-15)
    assert result.x[0] == -1 and result.x[-1] == 2


@pytest.mark.parametrize("rel", [1e-3, 1e-6])
def test_tolerance_is_met_and_every_evaluation_is_a_knot(rel):
    f = lambda x: np.tanh(50 * (x - 0.3)) + 1.5  # noqa: E731
    result = autoknots_four_point(f, 0, 1, rel)
    assert spline_violation(result, f, rel).max_ratio <= 1
    assert result.n_eval == len(result.x) == len(np.unique(result.x))
    np.testing.assert_array_equal(result.y, f(result.x))
    assert np.bincount(result.sweep_added).tolist()[0] == 4


def test_a_pass_after_a_failure_does_not_count_twice():
    result = autoknots_four_point(np.exp, 0, 5, 1e-4)
    last = result.history[-1]
    assert last.failed == 0 and result.n_sweeps >= 3


def test_vector_valued():
    f = lambda x: np.stack([np.exp(x), np.cos(5 * x) + 2], 1)  # noqa: E731
    result = autoknots_four_point(f, 0, 1, 1e-4)
    assert spline_violation(result, f, 1e-4).max_ratio <= 1


def test_jump_budget_and_bad_input():
    with pytest.raises(DiscontinuityError) as caught:
        autoknots_four_point(lambda x: np.where(x < 0.3, 1.0, 2.0), 0, 1)
    assert caught.value.x[0] <= 0.3 <= caught.value.x[2]
    with pytest.raises(ValueError, match="pass scale"):
        autoknots_four_point(lambda x: x**5 * np.exp(x), -1, 1)
    with pytest.warns(UserWarning, match="max_knots = 30 reached"):
        result = autoknots_four_point(np.exp, 0, 9, 1e-9, max_knots=30)
    assert not result.converged and result.n_eval == len(result.x) <= 30
    for arguments, words in [
        ((np.exp, 1, 0), "a must be below b"),
        ((np.exp, 0, 1, 2.0), "rel"),
        ((np.exp, 0, 1, 1e-5, 0.0, 3), "max_knots"),
        ((np.exp, 0, 1, 1e-5, [1.0]), "scale"),
    ]:
        with pytest.raises(ValueError, match=words):
            autoknots_four_point(*arguments)
