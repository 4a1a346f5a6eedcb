"""The toy problem of known intrinsic dimension."""

import numpy as np
import pytest
from scipy.optimize import minimize

from overparam.theory.group_sums import group_sum_loss, group_sum_minimum


def basis(dim: int, seed: int, size: int = 1000) -> np.ndarray:
    columns = np.random.default_rng(seed).normal(size=(size, dim))
    return columns / np.linalg.norm(columns, axis=0)


def test_loss_by_hand() -> None:
    assert group_sum_loss(np.zeros(1000)) == sum(i**2 for i in range(1, 11))
    solved = np.repeat(np.arange(1, 11) / 100, 100)
    assert group_sum_loss(solved) == pytest.approx(0.0, abs=1e-24)
    assert group_sum_loss(np.array([[1.0, 1.0, 0.0, 0.0], [0.5, 0.5, 2.0, 0.0]]), 2).tolist() == [
        5.0,
        0.0,
    ]


@pytest.mark.parametrize("dim", [1, 3, 9])
def test_minimum_equals_an_optimiser(dim: int) -> None:
    matrix = basis(dim, dim)
    found = minimize(lambda v: float(group_sum_loss(matrix @ v)), np.zeros(dim), method="BFGS",
                     options={"gtol": 1e-9})  # fmt: skip
    assert group_sum_minimum(matrix) == pytest.approx(found.fun, rel=1e-6)


def test_intrinsic_dimension_is_the_number_of_groups() -> None:
    below = [group_sum_minimum(basis(9, seed)) for seed in range(80)]
    enough = [group_sum_minimum(basis(10, seed)) for seed in range(80)]
    assert np.median(below) > 1e-2
    assert max(enough) < 1e-18
    assert min(below) > 1e-8


@pytest.mark.parametrize("groups", [0, 3, -2])
def test_groups_divide_the_parameters(groups: int) -> None:
    with pytest.raises(ValueError, match="divisor of 1000"):
        group_sum_loss(np.zeros(1000), groups)
    with pytest.raises(ValueError, match="divisor of 1000"):
        group_sum_minimum(basis(2, 0), groups)
