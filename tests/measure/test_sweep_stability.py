import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overparam.measure import sweep_stability


@given(
    scores=st.lists(st.lists(st.integers(0, 100), min_size=3, max_size=3), min_size=4, max_size=4),
    tolerance=st.integers(0, 50),
)
@settings(max_examples=50, deadline=None)
def test_failures_and_spread_by_counting(scores, tolerance):
    cells = [(m, s) for m in ("roast", "stable") for s in (0, 1)]
    rows = [
        (method, seed, knob, float(score))
        for (method, seed), row in zip(cells, scores, strict=True)
        for knob, score in zip((0.1, 1.0, 5.0), row, strict=True)
    ]
    runs = pd.DataFrame(rows, columns=["method", "seed", "s", "acc"])
    found = sweep_stability(runs.sample(frac=1, random_state=0), "s", "acc", tolerance=tolerance)
    assert [tuple(cell) for cell in found[["method", "seed"]].values] == cells
    failed = [sum(value < max(row) - tolerance for value in row) / 3 for row in scores]
    assert np.allclose(found["failed"], failed)
    assert found["spread"].tolist() == [max(row) - min(row) for row in scores]


def test_tasks_are_averaged_and_nothing_gives_nothing():
    columns = {"method": "roast", "seed": 0, "task": ["a", "b"] * 2, "s": [1, 1, 2, 2]}
    runs = pd.DataFrame({**columns, "acc": [0.2, 0.4, 0.5, 0.9]})
    found = sweep_stability(runs, "s", "acc", tolerance=0.05)
    assert found["spread"].tolist() == pytest.approx([0.4]) and found["failed"].tolist() == [0.5]
    empty = sweep_stability(runs[:0], "s", "acc", tolerance=0.05)
    assert empty.empty and empty.columns.tolist() == ["method", "seed", "failed", "spread"]


def test_bad_input():
    runs = pd.DataFrame({"method": ["roast"], "seed": [0], "s": [1], "acc": [0.5]})
    with pytest.raises(ValueError, match="tolerance is -1"):
        sweep_stability(runs, "s", "acc", tolerance=-1)
    with pytest.raises(KeyError, match="loss"):
        sweep_stability(runs, "s", "loss", tolerance=0)
