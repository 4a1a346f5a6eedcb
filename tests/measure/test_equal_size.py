"""Rivals at equal size, and the learning rate at which each is taken."""

import numpy as np
import pandas as pd
import pytest

from overparam.measure import at_best_rate, equal_size_rivals


def test_the_best_rate_of_each_group_by_brute_force() -> None:
    generator = np.random.Generator(np.random.Philox(key=0))
    cells = [(t, d, r, s) for t in "ab" for d in (5, 9) for r in (0.1, 0.2, 0.3) for s in range(4)]
    runs = pd.DataFrame(cells, columns=["task", "dim", "lr", "seed"])
    runs = runs.assign(train_acc=generator.random(len(runs))).sample(frac=1, random_state=1)
    found = at_best_rate(runs, ["task", "dim"])
    assert len(found) == 4 * 4
    for (task, dim), rows in found.groupby(["task", "dim"]):
        means = {
            rate: np.mean([r.train_acc for r in runs.itertuples() if r[1:4] == (task, dim, rate)])
            for rate in (0.1, 0.2, 0.3)
        }
        assert set(rows["lr"]) == {max(means, key=means.get)}
    overall = at_best_rate(runs)
    assert overall["lr"].nunique() == 1 and len(overall) == 16
    other = at_best_rate(runs.assign(loss=-runs["train_acc"]), selection="loss")
    assert other["lr"].iloc[0] == runs.groupby("lr")["train_acc"].mean().idxmin()


def row(task: str, size: int, lr: float, train: float, test: float, dim: int = 0) -> dict:
    return {
        "task": task, "dim": dim, "seed": 0, "D": size, "lr": lr, "train_acc": train,
        "test_acc": test,
    }  # fmt: skip


RUNS = pd.DataFrame(
    [row("a", 900, 0.1, 0.8, 0.70, 20), row("a", 900, 0.3, 0.9, 0.60, 20),
     row("a", 900, 0.1, 1.0, 0.99, 30), row("b", 900, 0.1, 1.0, 0.55, 20)]
)  # fmt: skip
NETS = pd.DataFrame(
    [row("a", 19, 0.1, 0.9, 0.90), row("a", 25, 0.1, 0.5, 0.30), row("a", 25, 0.3, 0.4, 0.35),
     row("a", 40, 0.1, 0.9, 0.80)]
).drop(columns="dim")  # fmt: skip


def test_the_smallest_net_that_is_large_enough_each_at_its_best_rate() -> None:
    found = equal_size_rivals(RUNS, NETS, pd.Series({"a": 20.0, "b": 20.0}))
    assert found.to_dict("list") == {
        "seed": [0, 0], "D": [900, 25], "test_acc": [0.60, 0.30], "task": ["a", "a"],
        "method": ["random", "small"],
    }  # fmt: skip
    exactly = equal_size_rivals(RUNS, NETS, pd.Series({"a": 25.0}))
    assert exactly["D"].tolist() == [25]


def test_a_dimension_that_was_not_reached_has_no_rivals() -> None:
    assert equal_size_rivals(RUNS, NETS, pd.Series({"a": np.nan})).empty
    with pytest.raises(KeyError, match="a"):
        equal_size_rivals(RUNS, NETS, pd.Series({"b": 20.0}))
