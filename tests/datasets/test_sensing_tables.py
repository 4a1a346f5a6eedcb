"""Sensing problems through tables and back."""

import numpy as np
import pytest

from overparam.datasets.matrix_sensing import SensingOperator, low_rank_ground_truth
from overparam.datasets.sensing_tables import problem_kinds, read_sensing, sensing_tables
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
    tables = Tables.of(sensing_tables(op, made, SEEDS))
    assert problem_kinds(tables) == ["symmetric", "asymmetric"]
    read = read_sensing(tables, (3, 5), ("asymmetric", "symmetric", "asymmetric"))
    assert read.y.shape == (2, 3, op.m) and read.truth.shape == (2, 3, 4, 4)
    np.testing.assert_array_equal(read.truth[0, 2], made["asymmetric"][0][1])
    np.testing.assert_array_equal(read.y[1, 1], made["symmetric"][1][0])
    np.testing.assert_allclose(read.op.forward(read.truth), read.y, rtol=1e-12, atol=1e-15)


def test_a_shared_problem_without_truth():
    op = SensingOperator((3, 2), 5, seed=0)
    y = np.arange(5.0)
    tables = Tables.of(sensing_tables(op, {"asymmetric": (np.full((3, 2), np.nan), y)}, SEEDS))
    read = read_sensing(tables, SEEDS, ("asymmetric",))
    assert read.truth is None and read.op.batch == 2
    np.testing.assert_array_equal(read.op.matrices[1], op.matrices)
    with pytest.raises(KeyError):
        read_sensing(tables, SEEDS, ("symmetric",))
