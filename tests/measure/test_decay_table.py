"""Laws of many runs: against the fit of each run by itself, and curves of known laws."""

import numpy as np
import pandas as pd
import pytest

from overparam.measure import decay_table, fit_decay, steps_until

T = np.unique(np.geomspace(1, 1000, 150).astype(int))


def trace(err, *, switched_at=-1, step=T, **labels):
    return pd.DataFrame({"step": step, "err": err}).assign(switched_at=switched_at, **labels)


def test_a_row_per_run_in_order_of_appearance_equals_its_own_fit():
    power, rate = 3.0 / T**2, np.exp(-0.02 * T)
    traces = pd.concat([trace(power, method="b", seed=1), trace(rate, method="a", seed=0)])
    found = decay_table(traces, ["method", "seed"], "err", level=1e-16)
    assert found.index.tolist() == [("b", 1), ("a", 0)]
    assert found.index.names == ["method", "seed"]
    for run, err in ((("b", 1), power), (("a", 0), rate)):
        law = fit_decay(T, err)
        assert found.loc[run, "law"] == law.law
        assert found.loc[run, "exp_rate"] == law.exp_rate
        assert found.loc[run, "steps_to_arrive"] == steps_until(T, err, 1e-16, law.exp_rate)


def test_nothing_counts_before_the_switch():
    step = np.unique(np.append(T, 100))
    err = np.exp(-0.05 * np.maximum(step - 100, 0))
    found = decay_table(trace(err, step=step, switched_at=100, run=0), ["run"], "err", level=1e-16)
    assert found.loc[0, "exp_rate"] == pytest.approx(0.05)
    assert found.loc[0, "steps_to_arrive"] == pytest.approx(-np.log(1e-16) / 0.05, rel=1e-3)


def test_a_run_that_was_switched_too_late_is_unknown():
    found = decay_table(trace(1.0 / T, switched_at=int(T[-2]), run=0), ["run"], "err", level=1e-9)
    row = found.loc[0]
    assert row["law"] == "unknown"
    assert np.isnan(row["exp_rate"]) and row["steps_to_arrive"] == np.inf


def test_what_a_fit_refuses_is_refused():
    with pytest.raises(ValueError, match="finite and >= 0"):
        decay_table(trace(-1.0 / T, run=0), ["run"], "err", level=1e-9)
