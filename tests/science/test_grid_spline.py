"""Plain grids."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from overparam.science.grid_spline import grid_spline


@pytest.mark.parametrize(
    ("space", "knots"),
    [
        ("linear", np.linspace(0.5, 8, 9)),
        ("log", np.geomspace(0.5, 8, 9)),
        ("asinh", np.sinh(np.linspace(np.arcsinh(0.5), np.arcsinh(8), 9))),
    ],
)
def test_it_is_the_spline_on_that_grid(space, knots):
    result = grid_spline(np.log, 0.5, 8, 9, space)
    np.testing.assert_allclose(result.x, knots, rtol=1e-14)
    assert result.x[0] == 0.5 and result.x[-1] == 8 and result.n_eval == 9
    x = np.linspace(0.5, 8, 50)
    np.testing.assert_allclose(result.spline(x), CubicSpline(knots, np.log(knots))(x), rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "words"), [((0, 1, 3), "n must be at least 4"), ((-1, 1, 9, "log"), "a must")]
)
def test_bad_input_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        grid_spline(np.exp, *arguments)
