"""Descents on stored problems against each run by itself."""

from functools import partial

import numpy as np
import pytest

from overparam.datasets import drawn_sensing_tables, read_sensing, sensing_tables
from overparam.datasets.matrix_sensing import SensingOperator
from overparam.store import Tables
from overparam.training import (
    FactorStart,
    SensingDescent,
    accelerated_factored_gd,
    descend_side_by_side,
    factored_gd,
    random_factors,
)

SEEDS = (3, 4)
K, ETA = 2, 0.1
PLAIN = [
    FactorStart("loose", "asymmetric", 0.5, 1 / 3),
    FactorStart("tied", "symmetric", 0.4, tied=True),
]


@pytest.fixture(scope="module")
def problems():
    return Tables.of(drawn_sensing_tables(6, 1, 60, "gaussian", SEEDS))


def run(descents, problems, seeds=SEEDS, **options):
    return descend_side_by_side(descents, problems, seeds, K, ETA, **options)


@pytest.fixture(scope="module")
def traces(problems):
    switched = partial(accelerated_factored_gd, tau=0.2, beta=0.9)
    symmetric = [FactorStart("symmetric", "symmetric", 0.4)]
    descents = [
        SensingDescent(factored_gd, PLAIN, 80),
        SensingDescent(factored_gd, symmetric, 60, "symmetric"),
        SensingDescent(switched, [FactorStart("switched", "asymmetric", 0.5, 1 / 3)], 120),
    ]
    return run(descents, problems)


def alone(problems, seed, kind, init, algorithm=factored_gd, steps=80, **options):
    """One run by itself, without batch or tables."""
    posed = read_sensing(problems, (seed,), (kind,))
    op = SensingOperator.from_matrices(posed.op.matrices[0].reshape(60, 6, 6))
    return algorithm(op, posed.y[0, 0], init, ETA, steps, truth=posed.truth[0, 0], **options)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_run_is_that_of_its_own_start(problems, traces, seed):
    F, G = random_factors((6, 6), K, 0.5, imbalance=1 / 3, seed=seed)
    (X,) = random_factors((6, 6), K, 0.4, parameterization="symmetric", seed=seed)
    switched = {"algorithm": accelerated_factored_gd, "steps": 120, "tau": 0.2, "beta": 0.9}
    symmetric = {"parameterization": "symmetric", "steps": 60}
    expected = {
        "loose": alone(problems, seed, "asymmetric", (F, G)),
        "tied": alone(problems, seed, "symmetric", (X, X)),
        "symmetric": alone(problems, seed, "symmetric", (X,), **symmetric),
        "switched": alone(problems, seed, "asymmetric", (F, G), **switched),
    }
    assert traces["method"].unique().tolist() == list(expected)
    for method, found in expected.items():
        own = traces[(traces["method"] == method) & (traces["seed"] == seed)]
        last = own.iloc[-1]
        assert last["step"] == last["T"] == found.trace.step[-1]
        for column in ("err2", "residual", "sigma_min_F"):
            at_end = getattr(found.trace, column)[-1]
            assert last[column] == pytest.approx(float(at_end), rel=1e-8, abs=1e-25)
        assert last["switched_at"] == found.switched_at


def test_rows_say_what_they_are(traces):
    assert (traces["n"] == 6).all() and (traces["r"] == 1).all()
    assert (traces["k"] == K).all() and (traces["eta"] == ETA).all()
    starts = traces.groupby("method")[["alpha", "ratio", "kind", "T"]].first()
    assert starts.loc["loose"].tolist() == [0.5, 1 / 3, "asymmetric", 80]
    assert starts.loc["tied"].tolist() == [0.4, 1, "symmetric", 80]
    for _, own in traces.groupby(["method", "seed"]):
        assert {0, own["T"].iloc[0] // 4, own["T"].iloc[0]} <= set(own["step"])


def test_tied_factors_with_symmetric_residuals_are_those_of_x_x_t():
    problems = Tables.of(drawn_sensing_tables(5, 1, None, "identity", SEEDS))
    tied = run([SensingDescent(factored_gd, PLAIN[1:], 40)], problems)
    only = [FactorStart("symmetric", "symmetric", 0.4)]
    symmetric = run([SensingDescent(factored_gd, only, 40, "symmetric")], problems)
    np.testing.assert_allclose(tied["err2"], symmetric["err2"], rtol=1e-10)
    assert tied["err2"].iloc[-1] < 0.1 * tied["err2"].iloc[0]
    assert (tied["imbalance_drift"] < 1e-12).all()


def test_a_run_that_has_arrived_is_recorded_no_further(problems):
    found = run([SensingDescent(factored_gd, PLAIN[:1], 80)], problems, stop_below=0.3)
    ends = found.groupby("seed").last()
    assert (ends["step"] < 80).all() and (ends["residual"] <= 0.3).all()


def test_starts_without_a_problem_are_left_out():
    op = SensingOperator((4, 3), kind="identity")
    M = np.outer(np.ones(4), np.ones(3)) / np.sqrt(12)
    tables = Tables.of(sensing_tables(op, {"asymmetric": (M, M.ravel())}, SEEDS, 1))
    found = run([SensingDescent(factored_gd, PLAIN, 20)], tables)
    assert set(found["method"]) == {"loose"} and (found["n"] == 4).all()
    with pytest.raises(ValueError, match=r"kinds, \['asymmetric'\]"):
        run([SensingDescent(factored_gd, PLAIN[1:], 20)], tables)
