"""Errors of stored fits against those of the splines themselves."""

import numpy as np
import pandas as pd
import pytest
from scipy.interpolate import CubicSpline

from overparam.measure import spline_violation
from overparam.science import (
    FIXED_FUNCTIONS,
    TargetFunction,
    autoknots,
    fit_errors,
    grids_of_equal_size,
    knots_on_graph,
    read_fits,
    search_targets,
    target_functions,
    target_table,
    violation_curves,
)
from overparam.store import Tables

TARGETS = [FIXED_FUNCTIONS[name] for name in ("runge", "tanh")]


@pytest.fixture(scope="module")
def fits():
    found = search_targets("adaptive", TARGETS, (1e-3, 1e-4))
    searched = Tables.of(found, cell={"method": "adaptive"})
    counts = found["fits"].set_index(["function_id", "rel"])["n_knots"]
    grids = Tables.of(grids_of_equal_size(TARGETS, counts))
    return pd.concat([read_fits(searched), read_fits(grids)], ignore_index=True)


def test_errors_are_those_of_the_results(fits):
    errors = fit_errors(TARGETS, fits, 2001).set_index(["method", "function_id", "rel"])
    assert len(errors) == 8 and errors["mean_max_rel"].isna().all()
    for target in TARGETS:
        result = autoknots(target.f, target.a, target.b, 1e-4)
        seen = spline_violation(result, target.f, 1e-4, n_grid=2001)
        row = errors.loc["adaptive", target.name, 1e-4]
        assert row["max_ratio"] == pytest.approx(seen.max_ratio) and seen.max_ratio <= 1
        assert (row["max_abs"], row["max_rel"]) == pytest.approx((seen.max_abs, seen.max_rel))
        assert row["x_worst"] == pytest.approx(seen.x_worst)
        assert row["frac_violating"] == 0 and row["n_knots"] == row["n_eval"] == len(result.x)
        even = np.linspace(target.a, target.b, len(result.x))
        grid = np.linspace(target.a, target.b, 2001)
        off = np.abs(CubicSpline(even, target.f(even))(grid) / target.f(grid) - 1)
        assert errors.loc["uniform", target.name, 1e-4]["max_rel"] == pytest.approx(off.max())
        share = errors.loc["uniform", target.name, 1e-4]["frac_violating"]
        assert share == pytest.approx((off > 1e-4).mean())


def test_tolerances_have_the_scale_and_errors_are_derived():
    zero = TargetFunction("cube", lambda x: x**3 + np.sin(20 * x), -1.0, 1.0, scale=1.0)
    fits = read_fits(Tables.of(search_targets("adaptive", [zero], (1e-3,)), cell={"method": "a"}))
    (row,) = fit_errors([zero], fits, 501).to_dict("records")
    result = autoknots(zero.f, -1, 1, 1e-3, 1.0)
    seen = spline_violation(result, zero.f, 1e-3, 1.0, n_grid=501)
    assert row["max_ratio"] == pytest.approx(seen.max_ratio)
    halo = target_functions("halo", target_table("halo"))[0]
    fits = read_fits(Tables.of(search_targets("adaptive", [halo], (1e-4,)), cell={"method": "a"}))
    (row,) = fit_errors([halo], fits, 501).to_dict("records")
    x = fits["x"][0]
    assert row["mean_max_rel"] == halo.derived_error(x, halo.f(x), halo.grid(501)) < 1e-3


def test_curves_hold_the_worst_ratio_and_knots_lie_on_the_graph(fits):
    adaptive = fits[fits["method"] == "adaptive"]
    curves = violation_curves(TARGETS, adaptive, 2001)
    worst = curves.groupby(["function_id", "rel"])["ratio"].max()
    errors = fit_errors(TARGETS, adaptive, 2001).set_index(["function_id", "rel"])
    pd.testing.assert_series_equal(worst, errors["max_ratio"].sort_index(), check_names=False)
    assert curves["x"].between(0, 1).all()
    knots = knots_on_graph(TARGETS, adaptive)
    for target in TARGETS:
        own = knots[(knots["function_id"] == target.name) & (knots["rel"] == 1e-4)]
        result = autoknots(target.f, target.a, target.b, 1e-4)
        np.testing.assert_array_equal(own["x"], result.x)
        np.testing.assert_allclose(own["y"], result.y, rtol=1e-14)
        np.testing.assert_array_equal(own["sweep_added"], result.sweep_added)
