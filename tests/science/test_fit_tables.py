"""Searches as tables."""

import numpy as np
import pytest

from overparam.science import autoknots, fit_tables, grid_spline, read_fits
from overparam.store import Tables

FOUND = [
    ({"f": "exp", "rel": 1e-4}, autoknots(np.exp, 0, 5, 1e-4)),
    ({"f": "cos", "rel": 1e-3}, grid_spline(np.cos, 0, 1, 7)),
]


def test_rows_and_knots_are_those_of_the_results():
    tables = fit_tables(FOUND)
    fits, knots = tables["fits"], tables["knots"]
    assert fits["n_knots"].tolist() == [len(result.x) for _, result in FOUND]
    assert (fits["n_eval"] == fits["n_knots"]).all() and fits["converged"].all()
    for (label, result), n_sweeps in zip(FOUND, fits["n_sweeps"], strict=True):
        own = knots[knots["f"] == label["f"]]
        np.testing.assert_array_equal(own["x"], result.x)
        np.testing.assert_array_equal(own["sweep_added"], result.sweep_added)
        assert (own["rel"] == label["rel"]).all() and n_sweeps == result.n_sweeps
    with pytest.raises(ValueError, match="at least one fit"):
        fit_tables([])


def test_fits_of_several_cells_are_read_with_their_knots():
    cells = [Tables.of(fit_tables([fit]), cell={"seed": seed}) for seed, fit in enumerate(FOUND)]
    fits = read_fits(Tables.concat(cells))
    assert fits["seed"].tolist() == [0, 1] and fits["f"].tolist() == ["exp", "cos"]
    for fit, (_, result) in zip(fits.to_dict("records"), FOUND, strict=True):
        np.testing.assert_array_equal(fit["x"], result.x)
        np.testing.assert_array_equal(fit["sweep_added"], result.sweep_added)
    tables = fit_tables(FOUND)
    with pytest.raises(ValueError, match="knots has 3 rows"):
        read_fits(Tables.of({**tables, "knots": tables["knots"].head(3)}))
