"""Sensing problems through tables and back."""

import numpy as np
import pytest

from overparam.datasets.matrix_sensing import (
    SensingOperator,
    low_rank_ground_truth,
    positive_semidefinite,
)
from overparam.datasets.sensing_tables import (
    drawn_sensing_tables,
    own_sensing_tables,
    problem_kinds,
    problem_rank,
    read_sensing,
    sensing_tables,
)
from overparam.store import Tables

SEEDS = (5, 3)


@pytest.mark.parametrize("kind", ["gaussian", "identity"])
def test_problems_come_back_in_the_order_of_seeds_and_starts(kind):
    op = SensingOperator((4, 4), 9 if kind == "gaussian" else None, kind, seed=SEEDS)
    made = {
        name: (M, op.forward(M))
        for name in ("symmetric", "asymmetric")
        for M in [low_rank_ground_truth(4, 4, 1, symmetric=name == "symmetric", seed=SEEDS)]
    }
    tables = Tables.of(sensing_tables(op, made, SEEDS, 1))
    assert problem_kinds(tables) == ["symmetric", "asymmetric"] and problem_rank(tables) == 1
    read = read_sensing(tables, (3, 5), ("asymmetric", "symmetric", "asymmetric"))
    assert read.y.shape == (2, 3, op.m) and read.truth.shape == (2, 3, 4, 4)
    np.testing.assert_array_equal(read.truth[0, 2], made["asymmetric"][0][1])
    np.testing.assert_array_equal(read.y[1, 1], made["symmetric"][1][0])
    np.testing.assert_allclose(read.op.forward(read.truth), read.y, rtol=1e-12, atol=1e-15)


def test_a_shared_problem_without_truth():
    op = SensingOperator((3, 2), 5, seed=0)
    y = np.arange(5.0)
    tables = Tables.of(sensing_tables(op, {"asymmetric": (np.full((3, 2), np.nan), y)}, SEEDS, 1))
    read = read_sensing(tables, SEEDS, ("asymmetric",))
    assert read.truth is None and read.op.batch == 2
    np.testing.assert_array_equal(read.op.matrices[1], op.matrices)
    with pytest.raises(KeyError):
        read_sensing(tables, SEEDS, ("symmetric",))


@pytest.mark.parametrize("operator", ["gaussian", "identity"])
def test_drawn_problems_are_measurements_of_low_rank_matrices(operator):
    m = 40 if operator == "gaussian" else None
    tables = Tables.of(drawn_sensing_tables(5, 2, m, operator, SEEDS, kappa=4.0))
    posed = read_sensing(tables, SEEDS, ("asymmetric", "symmetric"))
    values = np.linalg.svd(posed.truth, compute_uv=False)
    np.testing.assert_allclose(values, np.broadcast_to([1, 0.25, 0, 0, 0], (2, 2, 5)), atol=1e-14)
    np.testing.assert_allclose(posed.op.forward(posed.truth), posed.y, rtol=1e-12, atol=1e-15)
    assert [positive_semidefinite(M) for M in posed.truth[0]] == [False, True]
    assert problem_rank(tables) == 2 and ("sensing" in tables) == (operator == "gaussian")
    alone = Tables.of(drawn_sensing_tables(5, 2, m, operator, SEEDS[1:], kappa=4.0))
    np.testing.assert_array_equal(read_sensing(alone, (3,), ("symmetric",)).y[0, 0], posed.y[1, 1])
    noisy = Tables.of(drawn_sensing_tables(5, 2, m, operator, SEEDS, kappa=4.0, noise=0.1))
    errors = read_sensing(noisy, SEEDS, ("asymmetric", "symmetric")).y - posed.y
    assert errors.std() == pytest.approx(0.1, rel=0.25)


@pytest.mark.parametrize(("known", "symmetric"), [(False, True), (True, True), (True, False)])
def test_own_measurements_are_symmetric_where_that_is_known(tmp_path, known, symmetric):
    rng = np.random.default_rng(0)
    A = rng.standard_normal((9, 3, 3)) / 3
    x = rng.standard_normal((3, 1))
    M = x @ (x.T if symmetric else rng.standard_normal((1, 3)))
    arrays = {"A": A, "y": np.einsum("mij,ij->m", A, M)}
    np.savez(tmp_path / "own.npz", **arrays, **({"M": M} if known else {}))
    tables = Tables.of(own_sensing_tables(tmp_path / "own.npz", 2, SEEDS))
    both = ["asymmetric", "symmetric"]
    assert problem_kinds(tables) == (both if known and symmetric else both[:1])
    assert problem_rank(tables) == 2
    posed = read_sensing(tables, SEEDS, both[:1])
    assert (posed.truth is None) != known
    np.testing.assert_allclose(posed.op.forward(np.stack([[M], [M]])), posed.y, rtol=1e-12)
