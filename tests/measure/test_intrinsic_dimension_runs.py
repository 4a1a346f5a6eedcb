"""d_int from tables of runs: the same as from functions, and extended only where needed."""

import numpy as np
import pandas as pd
import pytest

from overparam.measure import intrinsic_dimension, intrinsic_dimension_of_runs


def curve(dim: int, seed: int) -> float:
    return min(1.0, (dim + 3 * seed) / 100)


def table(dims: tuple[int, ...], rates: tuple[float, ...] = (0.1,)) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "dim": d, "lr": r, "seed": s,
                "train_acc": curve(d, s) - r, "test_acc": curve(d, s) + r,
            }
            for d in dims for r in rates for s in (0, 1, 2)
        ]
    )  # fmt: skip


def test_a_grid_gives_what_the_function_gives() -> None:
    runs = table((20, 60, 95, 120))
    baseline = pd.Series([1.0, 1.1, 1.2], index=[0, 1, 2])
    found, everything = intrinsic_dimension_of_runs(
        runs.sample(frac=1, random_state=0), "test_acc", baseline[::-1]
    )
    expected = intrinsic_dimension(
        lambda d, seeds: [curve(d, s) + 0.1 for s in seeds],
        [20, 60, 95, 120], list(baseline), seeds=[0, 1, 2],
    )  # fmt: skip
    assert (found.d_int, found.ci) == (expected.d_int, expected.ci)
    assert found.seed_crossings == expected.seed_crossings
    assert len(everything) == len(runs)


def test_the_rate_that_trains_best_counts_not_the_one_that_tests_best() -> None:
    found, _ = intrinsic_dimension_of_runs(table((20, 100), (0.1, 0.3)), "test_acc", 1.0)
    performances = found.table.set_index("dim")["performance"]
    assert np.allclose(performances.loc[20], [0.3, 0.33, 0.36])


def test_bisection_trains_between_failure_and_success_alone() -> None:
    asked = []

    def train(seed: int, dim: int, rate: float) -> pd.DataFrame:
        asked.append((seed, dim, rate))
        score = curve(dim, seed)
        return pd.DataFrame({"dim": [dim], "lr": rate, "train_acc": score, "test_acc": score})

    found, everything = intrinsic_dimension_of_runs(
        table((20, 60)), "test_acc", 1.0, train=train, more_dims=(120, 240), rtol=0.1
    )
    tried = {dim for _, dim, _ in asked}
    assert 120 in tried and 240 not in tried and min(tried) > 60
    assert len(asked) == len(set(asked)) == 3 * len(tried)
    assert found.d_int in tried and found.d_int <= 1.1 * found.lower_bound
    assert len(everything) == 6 + len(asked)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="needs train"):
        intrinsic_dimension_of_runs(table((20,)), "test_acc", 1.0, more_dims=(40,))
    with pytest.raises(ValueError, match="runs is empty"):
        intrinsic_dimension_of_runs(table((20,)).iloc[:0], "test_acc", 1.0)
    with pytest.raises(KeyError):
        intrinsic_dimension_of_runs(table((20,)), "reward", 1.0)
