"""Searches as tables."""

import numpy as np
import pytest

from overparam.science import autoknots, fit_tables, grid_spline


def test_rows_and_knots_are_those_of_the_results():
    found = [
        ({"f": "exp", "rel": 1e-4}, autoknots(np.exp, 0, 5, 1e-4)),
        ({"f": "cos", "rel": 1e-3}, grid_spline(np.cos, 0, 1, 7)),
    ]
    tables = fit_tables(found)
    fits, knots = tables["fits"], tables["knots"]
    assert fits["n_knots"].tolist() == [len(result.x) for _, result in found]
    assert (fits["n_eval"] == fits["n_knots"]).all() and fits["converged"].all()
    for (label, result), n_sweeps in zip(found, fits["n_sweeps"], strict=True):
        own = knots[knots["f"] == label["f"]]
        np.testing.assert_array_equal(own["x"], result.x)
        np.testing.assert_array_equal(own["sweep_added"], result.sweep_added)
        assert (own["rel"] == label["rel"]).all() and n_sweeps == result.n_sweeps
    with pytest.raises(ValueError, match="at least one fit"):
        fit_tables([])
