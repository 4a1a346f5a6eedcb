"""Rank correlations run by run against SciPy."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from overparam.measure import run_correlations

BY = ["method", "seed"]


def drawn():
    rng = np.random.default_rng(0)
    keys = [(method, seed, epoch) for method in "ba" for seed in (0, 1) for epoch in range(9)]
    path = pd.DataFrame(keys, columns=[*BY, "epoch"])
    return path.assign(kl=rng.random(36), drop=rng.integers(0, 4, 36), top=rng.random(36))


def test_each_run_against_scipy():
    path = drawn()
    path.loc[path["epoch"] % 2 == 0, "top"] = np.nan
    found = run_correlations(path, BY, "kl", ["drop", "top"])
    assert list(found) == [*BY, "with_drop", "with_top"] and len(found) == 4
    for row in found.itertuples():
        run = path[(path["method"] == row.method) & (path["seed"] == row.seed)]
        assert row.with_drop == pytest.approx(spearmanr(run["kl"], run["drop"]).statistic)
        both = run.dropna()
        assert row.with_top == pytest.approx(spearmanr(both["kl"], both["top"]).statistic)


def test_too_few_epochs_and_constants_say_nothing():
    path = drawn()
    path.loc[path["epoch"] > 1, "top"] = np.nan
    path["drop"] = 1.0
    found = run_correlations(path, BY, "kl", ["drop", "top"])
    assert found[["with_drop", "with_top"]].isna().all(axis=None)


def test_no_rows_and_no_column():
    path = drawn()
    empty = run_correlations(path[:0], BY, "kl", ["drop"])
    assert list(empty) == [*BY, "with_drop"] and empty.empty
    assert empty["method"].dtype == path["method"].dtype
    with pytest.raises(KeyError, match="loss"):
        run_correlations(path, BY, "kl", ["loss"])
