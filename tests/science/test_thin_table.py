"""Rows that a spline can do without."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from overparam.science.autoknots import autoknots
from overparam.science.thin_table import needed_rows, thin_table


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 300), st.sampled_from([1e-2, 1e-5]), st.floats(0, 1), st.integers(0, 99))
def test_every_row_is_met_by_the_kept_rows_alone(n, rel, scale, seed):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.choice(10_000, n, replace=False)) / 1e4
    y = np.stack([np.tanh(20 * (x - 0.4)), np.cos(9 * x)], 1)
    thinned = thin_table(x, y, rel, scale)
    spline = CubicSpline(x[thinned.keep], y[thinned.keep])
    assert (np.abs(spline(x) - y) <= rel * (np.abs(y) + scale) + 1e-14).all()
    assert thinned.keep[[0, -1]].all() and thinned.max_ratio <= 1


def test_a_smooth_table_keeps_about_as_many_rows_as_the_search_needs_knots():
    f = lambda x: np.tanh(50 * (x - 0.3)) + 1.5  # noqa: E731
    x = np.linspace(0, 1, 20_001)
    thinned = thin_table(x, f(x), 1e-5)
    assert thinned.keep.sum() <= 1.2 * len(autoknots(f, 0, 1, 1e-5).x)


def test_noise_keeps_every_row():
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, 200)
    assert thin_table(x, rng.standard_normal(200), 1e-8).keep.all()


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ([0, 1, 2], [1, 2, 3], "number of rows must be at least 4"),
        ([0, 1, 1, 2], [1, 2, 3, 4], "row 2 is not above row 1"),
        ([0, 1, 2, 3], [1, 2, np.nan, 4], "row 2 is not"),
        ([0, 1, 2, 3], [1, 2, 3], "x and y must have shapes"),
    ],
)
def test_bad_tables_are_refused(x, y, words):
    with pytest.raises(ValueError, match=words):
        thin_table(x, y)


def test_rows_needed_at_each_tolerance():
    x = np.linspace(0, 3, 301)
    table = pd.DataFrame({"x": x, "y": np.exp(x)})
    rows = needed_rows(table, (1e-3, 1e-6), n0=5)
    assert rows.columns.tolist() == ["x", "y", "rel", "keep", "max_ratio"]
    for rel, own in rows.groupby("rel"):
        thinned = thin_table(x, np.exp(x), rel, n0=5)
        np.testing.assert_array_equal(own["keep"], thinned.keep)
        assert (own["max_ratio"] == thinned.max_ratio).all() and (own["x"] == x).all()
    assert rows["rel"].tolist() == [1e-3] * 301 + [1e-6] * 301
