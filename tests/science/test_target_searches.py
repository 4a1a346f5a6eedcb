"""Named searches and grids on several functions."""

import numpy as np
import pytest

from overparam.evidence import where
from overparam.science import (
    FIXED_FUNCTIONS,
    SEARCHES,
    TargetFunction,
    autoknots,
    autoknots_four_point,
    grid_spline,
    grids_of_equal_size,
    knot_search,
    search_targets,
)

TANH = FIXED_FUNCTIONS["tanh"]
POWER = TargetFunction("power", lambda x: x**-1.5, 1e-2, 1e2, 0.5, "log")
ASKED = {
    "adaptive": {},
    "refine1": {"refine": 1},
    "refine1_ns0": {"refine": 1, "refine_ns": 0},
    "refine4": {"refine": 4},
    "refine4_ns0": {"refine": 4, "refine_ns": 0},
    "value_only": {"integral_test": False},
}


@pytest.mark.parametrize("method", SEARCHES)
def test_a_name_is_a_search_with_its_options(method):
    for target in (TANH, POWER):
        found = knot_search(method, target, 1e-3, n0=8)
        f, a, b, scale = target.f, target.a, target.b, target.scale
        if method == "four_point":
            expected = autoknots_four_point(f, a, b, 1e-3, scale)
        else:
            expected = autoknots(f, a, b, 1e-3, scale, 8, target.space, **ASKED[method])
        np.testing.assert_array_equal(found.x, expected.x)


def test_every_function_at_every_tolerance_is_a_row():
    tables = search_targets("refine4_ns0", iter([TANH, POWER]), (1e-3, 1e-4), n0=7)
    fits = tables["fits"].set_index(["function_id", "rel"])
    assert fits.index.tolist() == [(n, r) for n in ("tanh", "power") for r in (1e-3, 1e-4)]
    assert fits["scale"].tolist() == [0, 0, 0.5, 0.5] and (fits["wall_s"] > 0).all()
    assert (fits["refine"] == 4).all() and (fits["refine_ns"] == 0).all()
    knots = tables["knots"].query("function_id == 'power' and rel == 1e-4")
    np.testing.assert_array_equal(knots["x"], knot_search("refine4_ns0", POWER, 1e-4, 7).x)
    plain = search_targets("four_point", [TANH], (1e-3,))["fits"]
    assert plain["refine"].tolist() == [0] and plain["refine_ns"].tolist() == [1]


def test_grids_have_as_many_knots_and_are_logarithmic_where_they_can():
    fits = search_targets("adaptive", [TANH, POWER], (1e-3, 1e-4))["fits"]
    counts = fits.set_index(["function_id", "rel"])["n_knots"]
    tables = grids_of_equal_size([TANH, POWER], counts)
    grids = tables["fits"].set_index(["method", "function_id", "rel"])["n_knots"]
    assert grids["uniform"].to_dict() == counts.to_dict()
    assert grids["log_grid"].to_dict() == counts.loc[["power"]].to_dict()
    for method, space in (("uniform", "linear"), ("log_grid", "log")):
        own = where(tables["knots"], method=method, function_id="power", rel=1e-3)
        expected = grid_spline(POWER.f, 1e-2, 1e2, counts["power", 1e-3], space)
        np.testing.assert_array_equal(own["x"], expected.x)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: knot_search("refine2", TANH, 1e-3), ValueError, "method must be one of"),
        (lambda: search_targets("adaptive", [TANH], (2.0,)), ValueError, "rel"),
        (lambda: search_targets("adaptive", [], (1e-3,)), ValueError, "at least one fit"),
        (
            lambda: grids_of_equal_size(
                [TANH],
                search_targets("adaptive", [POWER], (1e-3,))["fits"].set_index(
                    ["function_id", "rel"]
                )["n_knots"],
            ),
            KeyError,
            "tanh",
        ),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
