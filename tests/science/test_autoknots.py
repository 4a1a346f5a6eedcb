"""AutoKnots against what it reproduces exactly and what its rules say."""

import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from overparam.measure.spline_violation import spline_violation
from overparam.science.autoknots import autoknots, off_centre_simpson
from overparam.science.grid_spline import grid_spline
from overparam.science.knot_sampling import DiscontinuityError
from overparam.theory.halo import sigma_hernquist, sigma_nfw

FIXED = {
    "exp": (np.exp, 0, 5),
    "runge": (lambda x: 1 / (1 + 25 * x**2), -1, 1),
    "sine": (lambda x: np.sin(10 * x) + 2, 0, 3),
    "tanh": (lambda x: np.tanh(50 * (x - 0.3)) + 1.5, 0, 1),
    "sqrt": (lambda x: np.sqrt(x + 1e-3), 0, 1),
}


def one_bin_at_a_time(f, a, b, rel, scale, n0=6):
    """The method's text for linear spacing, bin by bin with scipy's own integrals."""
    x = list(np.linspace(a, b, n0))
    y = [float(f(np.array([p]))[0]) for p in x]
    closed = [False] * (n0 - 1)
    while not all(closed):
        S = CubicSpline(x, y)
        new = [(x[0], y[0])]
        state = []
        for i in range(len(closed)):
            if not closed[i]:
                m = (x[i] + x[i + 1]) / 2
                ym = float(f(np.array([m]))[0])
                h = x[i + 1] - x[i]
                simpson = h / 6 * (y[i] + 4 * ym + y[i + 1])
                ok = abs(ym - S(m)) <= rel * (abs(ym) + scale)
                ok &= abs(simpson - S.integrate(x[i], x[i + 1])) <= rel * (abs(simpson) + scale * h)
                new.append((m, ym))
                state += [ok, ok]
            else:
                state.append(True)
            new.append((x[i + 1], y[i + 1]))
        x, y = map(list, zip(*new, strict=True))
        closed = state
    return np.array(x)


@pytest.mark.parametrize("name", ["exp", "runge", "tanh"])
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_the_vectorised_search_is_the_bin_by_bin_one(name, scale):
    f, a, b = FIXED[name]
    expected = one_bin_at_a_time(f, a, b, 1e-4, scale)
    np.testing.assert_allclose(autoknots(f, a, b, 1e-4, scale).x, expected, rtol=0, atol=1e-14)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=4, max_size=4), st.floats(-5, 5), st.floats(0.1, 10))
def test_cubics_are_reproduced_with_eleven_knots(coefficients, a, length):
    f = np.polynomial.Polynomial(coefficients)
    result = autoknots(f, a, a + length, scale=1.0)
    grid = np.linspace(a, a + length, 101)
    assert len(result.x) == result.n_eval == 11
    size = np.abs(np.array(coefficients)) @ np.abs(a + length) ** np.arange(4) + 1e3
    np.testing.assert_allclose(result.spline(grid), f(grid), rtol=1e-12, atol=1e-13 * size)


def test_a_zero_at_a_test_point_costs_two_knots_without_scale():
    result = autoknots(lambda x: x**3, -1, 1)
    assert len(result.x) == 13
    assert [sweep.failed for sweep in result.history] == [1, 0]


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("rel", [1e-4, 1e-6])
def test_the_tolerance_is_met_on_fixed_functions(name, rel):
    f, a, b = FIXED[name]
    result = autoknots(f, a, b, rel)
    assert result.converged and result.n_eval == len(result.x)
    assert spline_violation(result, f, rel).max_ratio <= 1


@pytest.mark.parametrize(("name", "gain"), [("tanh", 20), ("sqrt", 1000)])
def test_knots_go_where_they_are_needed(name, gain):
    f, a, b = FIXED[name]
    result = autoknots(f, a, b, 1e-4)
    uniform = grid_spline(f, a, b, len(result.x))
    ours, theirs = (spline_violation(r, f, 1e-4).max_ratio for r in (result, uniform))
    assert theirs / ours >= gain


def test_the_integral_test_matters():
    # In linear spacing Simpson's rule is exact for S, so that |I_c - I_S| is 2/3 h |f(m) - S(m)|
    # and rarely decides; off centre the rule is exact for quadratics alone, and it does.
    f = lambda x: np.sin(3 * np.log(x))  # noqa: E731
    both, value_only = (
        autoknots(f, 0.1, 30, 1e-6, space="log", integral_test=on) for on in (True, False)
    )
    assert len(value_only.x) < len(both.x)
    positive = lambda x: np.exp(x / 10)  # noqa: E731
    both, value_only = (autoknots(positive, 0, 3, 1e-9, integral_test=on) for on in (True, False))
    np.testing.assert_array_equal(both.x, value_only.x)


def test_number_of_knots_grows_like_the_fourth_root():
    f, a, b = FIXED["runge"]
    rel = 10.0 ** -np.arange(4, 11)
    counts = [len(autoknots(f, a, b, r).x) for r in rel]
    assert -0.32 < np.polyfit(np.log(rel), np.log(counts), 1)[0] < -0.20


@settings(max_examples=25, deadline=None)
@given(st.integers(-20, 20), st.floats(0, 2))
def test_scaling_function_and_scale_together_keeps_the_knots(power, scale):
    f, a, b = FIXED["tanh"]
    c = 2.0**power
    np.testing.assert_array_equal(
        autoknots(f, a, b, 1e-4, scale).x,
        autoknots(lambda x: c * f(x), a, b, 1e-4, c * scale).x,
    )


@settings(max_examples=25, deadline=None)
@given(st.floats(-100, 100), st.floats(0.01, 100))
def test_an_affine_change_of_x_maps_the_knots(shift, length):
    f, _, _ = FIXED["tanh"]
    here = autoknots(f, 0, 1, 1e-4).x
    there = autoknots(lambda x: f((x - shift) / length), shift, shift + length, 1e-4).x
    np.testing.assert_allclose((there - shift) / length, here, rtol=0, atol=1e-11)


@pytest.mark.parametrize("refine", [0, 2])
def test_knots_are_sorted_dyadic_and_hold_the_ends(refine):
    f, a, b = FIXED["sqrt"]
    result = autoknots(f, a, b, 1e-5, refine=refine)
    assert result.x[0] == a and result.x[-1] == b and (np.diff(result.x) > 0).all()
    level = result.sweep_added.max()
    position = (result.x - a) / (b - a) * 5 * 2.0**level
    np.testing.assert_allclose(position, np.rint(position), atol=1e-9 * 2.0**level)
    np.testing.assert_array_equal(result.y, f(result.x))


@pytest.mark.parametrize(("space", "a", "b"), [("log", 0.1, 30.0), ("asinh", -7.3, 30.1)])
def test_other_spacings_keep_the_ends_exact_and_halve_in_their_own_coordinate(space, a, b):
    T = np.log if space == "log" else np.arcsinh
    result = autoknots(lambda x: 1 / (1 + x**2), a, b, 1e-5, space=space)
    assert result.x[0] == a and result.x[-1] == b and result.converged
    level = result.sweep_added.max()
    position = (T(result.x) - T(a)) / (T(b) - T(a)) * 5 * 2.0**level
    np.testing.assert_allclose(position, np.rint(position), atol=1e-7 * 2.0**level)
    assert spline_violation(result, lambda x: 1 / (1 + x**2), 1e-5).max_ratio <= 1


@settings(max_examples=50, deadline=None)
@given(
    st.floats(-0.95, 0.95), st.floats(0.01, 10), st.lists(st.floats(-5, 5), min_size=3, max_size=3)
)
def test_the_off_centre_rule_is_exact_for_quadratics(delta, h, coefficients):
    weights = off_centre_simpson(h, delta)
    assert sum(weights) == pytest.approx(h, rel=1e-13)
    p = np.polynomial.Polynomial(coefficients)
    nodes = np.array([-h / 2, delta * h / 2, h / 2])
    exact = p.integ()(h / 2) - p.integ()(-h / 2)
    size = np.abs(weights) @ np.abs(p(nodes))
    assert weights @ p(nodes) == pytest.approx(exact, rel=1e-12, abs=1e-13 * (size + h))


def test_the_off_centre_rule_at_the_centre_is_simpson():
    np.testing.assert_allclose(off_centre_simpson(6.0, 0.0), [1, 4, 1])


def test_bin_integrals_keep_their_digits_beside_a_large_neighbour():
    # A running antiderivative would carry rounding of 1e-16 * 1e13 into bins of size 1e-9.
    f = lambda x: 1e13 * np.exp(-((x / 0.2) ** 2)) + 1e-3 * np.exp(-x)  # noqa: E731
    result = autoknots(f, 0, 8, 1e-8, max_knots=20_000)
    assert result.converged and len(result.x) < 5000


def test_refine_reopens_bins_wider_than_the_limit():
    f = lambda x: np.tanh(200 * (x - 0.37)) + 3  # noqa: E731
    plain, refined = (autoknots(f, 0, 1, 1e-5, refine=n) for n in (0, 1))
    assert sum(sweep.reopened > 0 for sweep in refined.history) == 1
    assert np.diff(refined.x).max() < np.diff(plain.x).max()
    at = next(i for i, sweep in enumerate(refined.history) if sweep.reopened)
    before = np.sort(refined.x[refined.sweep_added <= at])
    after = np.sort(refined.x[refined.sweep_added <= at + 1])
    widths = np.diff(before)
    wide = np.diff(after) > widths.mean() + widths.std(ddof=1)
    assert refined.history[at].reopened == wide.sum() > 0


def test_refine_stops_where_no_bin_is_wide():
    result = autoknots(lambda x: x**2, 0, 1, refine=5)
    assert len(result.x) == 11 and result.history[-1].reopened == 0


def test_vector_valued_functions_share_knots_and_the_worst_component_decides():
    f, g = FIXED["tanh"][0], FIXED["sqrt"][0]
    both = autoknots(lambda x: np.stack([f(x), g(x)], 1), 0, 1, 1e-5)
    assert both.y.shape == (len(both.x), 2) and both.n_eval == len(both.x)
    single = [autoknots(each, 0, 1, 1e-5) for each in (f, g)]
    assert len(both.x) >= max(len(each.x) for each in single)
    pair = spline_violation(both, lambda x: np.stack([f(x), g(x)], 1), 1e-5)
    assert pair.max_ratio <= 1
    column = autoknots(lambda x: f(x)[:, None], 0, 1, 1e-5)
    np.testing.assert_array_equal(column.x, single[0].x)
    zero = autoknots(lambda x: np.stack([f(x), 0 * x**5 + x**5], 1), -1, 1, 1e-4, scale=[0, 1.0])
    assert zero.converged


def test_a_function_of_one_number_is_looped_over_on_request():
    scalar = autoknots(lambda x: float(np.exp(x)) if x < 9 else 0.0, 0, 5, vectorize=True)
    np.testing.assert_array_equal(scalar.x, autoknots(np.exp, 0, 5).x)


@pytest.mark.parametrize(
    ("f", "at"),
    [
        (lambda x: np.where(x < 0.3, 1.0, 2.0), 0.3),
        (lambda x: np.where(x < 1 / 3, x, -x), 1 / 3),
        (lambda x: np.where(x <= 0.5, 1.0, 4.0), 0.5),
    ],
)
def test_a_jump_is_named_with_its_bin_within_a_second(f, at):
    start = time.perf_counter()
    with pytest.raises(DiscontinuityError, match="discontinuous near") as caught:
        autoknots(f, 0, 1)
    assert time.perf_counter() - start < 1
    left, middle, right = caught.value.x
    assert left <= at <= right and left < middle < right and right - left < 1e-12
    np.testing.assert_array_equal(caught.value.y, f(caught.value.x))


@pytest.mark.parametrize("f", [lambda x: x**5 * np.exp(x), lambda x: x * np.abs(x) ** 3.5])
def test_a_zero_of_high_order_without_scale_ends_with_advice(f):
    with pytest.raises(ValueError, match=r"pass scale, for example scale=0\.00"):
        autoknots(f, -1, 1)
    assert autoknots(f, -1, 1, scale=1e-3).converged


def test_noise_reaches_max_knots_with_a_warning_and_never_exceeds_it():
    rng = np.random.default_rng(0)
    with pytest.warns(UserWarning, match="max_knots = 500 reached"):
        result = autoknots(lambda x: rng.standard_normal(x.shape), 0, 1, max_knots=500)
    assert not result.converged and len(result.x) == result.n_eval <= 500


def test_a_narrow_bump_between_the_first_knots_is_invisible_until_there_are_more():
    f = lambda x: 1 + np.exp(-((x - 0.37) ** 2) / 5e-5)  # noqa: E731
    blind, seeing = autoknots(f, 0, 1, refine=3), autoknots(f, 0, 1, n0=100)
    assert len(blind.x) == 11 and spline_violation(blind, f, 1e-5).max_abs > 0.5
    assert spline_violation(seeing, f, 1e-5).max_ratio <= 1


@pytest.mark.parametrize(
    ("sigma", "knots", "log_knots"), [(sigma_nfw, 63, 127), (sigma_hernquist, 95, 175)]
)
def test_halo_profiles_need_the_knots_seen_in_other_implementations(sigma, knots, log_knots):
    lo, hi = np.log(1e-2), np.log(1e2)
    result = autoknots(lambda u: sigma(np.exp(u)), lo, hi, 1e-4)
    error = spline_violation(result, lambda u: sigma(np.exp(u)), 1e-4)
    assert len(result.x) == knots and error.max_rel <= 1e-4
    assert len(autoknots(sigma, 1e-2, 1e2, 1e-4, space="log").x) == log_knots
    u = np.linspace(lo, hi, 4001)
    exact = (sigma(np.exp(u + 1e-4)) - sigma(np.exp(u - 1e-4))) / 2e-4
    slope_error = np.abs(result.spline(u, 1) - exact) / sigma(np.exp(u))
    assert slope_error.max() < 10 * 1e-4**0.75


def bad_value(x):
    return np.where(x > 0.55, np.nan, 1.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: autoknots(np.exp, 1, 1), "a must be below b, got a = 1.0, b = 1.0"),
        (lambda: autoknots(np.exp, 0, np.inf), "finite"),
        (lambda: autoknots(np.exp, np.nan, 1), "finite"),
        (lambda: autoknots(np.exp, 0, 1, rel=0.0), "rel"),
        (lambda: autoknots(np.exp, 0, 1, rel=1.0), "rel"),
        (lambda: autoknots(np.exp, 0, 1, scale=-1.0), "scale"),
        (lambda: autoknots(np.exp, 0, 1, scale=[1.0, 2.0]), "scale has shape"),
        (lambda: autoknots(np.exp, 0, 1, n0=3), "n0 must be at least 4 for not-a-knot, got 3"),
        (lambda: autoknots(np.exp, 0, 1, n0=2, bc="natural"), "n0 must be at least 3"),
        (lambda: autoknots(np.exp, 0, 1, bc="periodic"), "bc"),
        (lambda: autoknots(np.exp, 0, 1, space="log"), "a must be > 0 for space='log', got a = 0"),
        (lambda: autoknots(np.exp, 0, 1, space="cubic"), "space"),
        (lambda: autoknots(np.exp, 0, 1, refine=-1), "refine"),
        (lambda: autoknots(np.exp, 0, 1, max_knots=5), "max_knots must be at least n0"),
        (lambda: autoknots(np.exp, 1, np.nextafter(1, 2)), "too short"),
        (lambda: autoknots(bad_value, 0, 1), "f must be finite, but is not at x = 0.6"),
        (lambda: autoknots(lambda x: 1.0, 0, 1), "vectorize=True"),
        (lambda: autoknots(lambda x: x[:-1], 0, 1), "f must be vectorised"),
        (lambda: autoknots(lambda x: 1 if x > 0 else 2, 0, 1), "vectorize=True"),
        (lambda: autoknots(lambda x: x + 1j, 0, 1), "real numbers"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words), warnings.catch_warnings():
        warnings.simplefilter("error")
        call()


def test_f_must_be_callable():
    with pytest.raises(TypeError, match="f must be callable, got int"):
        autoknots(3, 0, 1)
