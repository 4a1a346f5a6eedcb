"""Violation of a tolerance, on interpolants whose error is known."""

from types import SimpleNamespace

import numpy as np
import pytest

from overparam.measure.spline_violation import spline_violation, violation_curve


def fitted(spline, a=0.0, b=2.0):
    return SimpleNamespace(spline=spline, x=np.array([a, b]))


def test_known_error():
    result = fitted(lambda x: x + 1 + 1e-3 * x)
    seen = spline_violation(result, lambda x: x + 1, rel=1e-3, scale=1.0, n_grid=5)
    assert seen.max_ratio == pytest.approx(2 / 4) and seen.x_worst == 2
    assert seen.max_abs == pytest.approx(2e-3) and seen.max_rel == pytest.approx(2e-3 / 3)
    assert seen.violating == 0
    tight = spline_violation(result, lambda x: x + 1, rel=5e-4, n_grid=5)
    assert tight.violating == pytest.approx(2 / 5)


def test_zeros_without_scale_and_components():
    exact = fitted(lambda x: x)
    assert spline_violation(exact, lambda x: x, 1e-5).max_ratio == 0
    off = fitted(lambda x: x + 1e-9)
    assert spline_violation(off, lambda x: x, 1e-5).max_ratio == np.inf
    two = fitted(lambda x: np.stack([x + 1, x + 1.01], 1))
    seen = spline_violation(two, lambda x: np.stack([x + 1, x + 1], 1), 1e-2, grid=[0.0, 1.0])
    assert seen.max_ratio == pytest.approx(1) and seen.x_worst == 0


def test_the_curve_holds_the_largest_ratio_of_each_stretch():
    result = fitted(lambda x: 1 + 1e-3 * (np.abs(x - 1.3) < 1e-3))
    curve = violation_curve(result, np.ones_like, rel=1e-3, n_grid=2001, stretches=10)
    assert curve.tolist() == pytest.approx([0] * 6 + [1] + [0] * 3)
    assert curve.max() == spline_violation(result, np.ones_like, 1e-3, n_grid=2001).max_ratio
    with pytest.raises(ValueError, match="stretches"):
        violation_curve(result, np.ones_like, 1e-3, n_grid=5, stretches=6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rel": 0.0}, "rel"),
        ({"rel": 1e-3, "scale": -1.0}, "scale"),
        ({"rel": 1e-3, "n_grid": 1}, "n_grid"),
        ({"rel": 1e-3, "grid": []}, "grid"),
    ],
)
def test_bad_input_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        spline_violation(fitted(np.sin), np.sin, **options)
    with pytest.raises(ValueError, match="vectorised and finite"):
        spline_violation(fitted(np.sin), lambda x: x * np.nan, 1e-3)
