"""What a search costs, counted."""

import numpy as np
import pytest

from overparam.measure import CallCounter
from overparam.science import autoknots, search_cost


def test_work_is_that_of_the_search():
    inner = CallCounter(np.exp)
    inner(np.zeros(5))  # what was called before is not counted
    cost = search_cost(lambda x: inner(x) + inner(-x), 0, 5, 1e-4, inner=inner, refine=1)
    found = autoknots(lambda x: np.exp(x) + np.exp(-x), 0, 5, 1e-4, refine=1)
    assert cost["n_eval"] == len(found.x) and cost["inner_calls"] == 2 * len(found.x)
    assert 0 <= cost["f_seconds"] <= cost["seconds"]
    # The first spline has 6 knots, each later one what all sweeps before have left.
    before = [6]
    for sweep in found.history:
        before.append(before[-1] + sweep.tested)
    assert cost["knots_refitted"] == found.knots_refitted == sum(before)
    assert search_cost(np.exp, 0, 5)["inner_calls"] == autoknots(np.exp, 0, 5).n_eval
    with pytest.raises(ValueError, match="rel"):
        search_cost(np.exp, 0, 5, rel=2.0)
