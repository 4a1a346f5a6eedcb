"""Tables of intrinsic dimensions against the functions that measure one."""

import numpy as np
import pandas as pd
import pytest

from overparam.measure import (
    dimension_by_seed,
    dimension_summary,
    dimension_tables,
    intrinsic_dimension_of_runs,
)

SEEDS = (0, 1, 2)


def trained(task: str, ease: float, size: int) -> pd.DataFrame:
    rows = [
        {
            "task": task, "dim": d, "lr": rate, "seed": s, "D": size,
            "train_acc": min(1.0, ease * (d + 3 * s) / 100) - rate,
            "test_acc": min(1.0, ease * (d + 2 * s) / 100) - 0.05,
        }
        for rate in (0.3, 0.1) for d in (10, 40, 90) for s in SEEDS
    ]  # fmt: skip
    return pd.DataFrame(rows)


RUNS = pd.concat([trained("hard", 1.0, 500), trained("easy", 5.0, 90)], ignore_index=True)
BASELINES = pd.DataFrame(
    [
        {"task": task, "seed": s, "train_acc": 0.9 + 0.02 * s, "test_acc": 0.8 + 0.02 * s}
        for task in ("easy", "hard") for s in reversed(SEEDS)
    ]
)  # fmt: skip


def test_rows_are_those_of_the_single_measurements() -> None:
    criteria = {"hard": ["test_acc", "train_acc"], "easy": ["train_acc"]}
    summary, seeds = dimension_tables(RUNS, criteria, BASELINES, ratio=0.7)
    pairs = [("hard", "test_acc"), ("hard", "train_acc"), ("easy", "train_acc")]
    assert list(zip(summary["task"], summary["criterion"], strict=True)) == pairs
    for (task, name), row in zip(pairs, summary.to_dict("records"), strict=True):
        own = RUNS[RUNS["task"] == task]
        base = BASELINES[BASELINES["task"] == task].set_index("seed")[name]
        found, _ = intrinsic_dimension_of_runs(own, name, base, ratio=0.7)
        expected = dimension_summary(found)
        assert {key: row[key] for key in expected} == pytest.approx(expected, nan_ok=True)
        assert row["baseline"] == pytest.approx(base.mean()) and np.isnan(row["mdl_bits"])
        assert row["D"] == {"hard": 500, "easy": 90}[task]
        mine = seeds[(seeds["task"] == task) & (seeds["criterion"] == name)]
        columns = ["seed", "d_int", "at_least"]
        assert mine[columns].reset_index(drop=True).equals(dimension_by_seed(found)[columns])
    assert len(seeds) == 3 * len(pairs)


def test_the_code_is_that_of_the_runs_at_d_int() -> None:
    codes = pd.DataFrame(
        [
            {"task": task, "dim": dim, "seed": s, "lr": 0.1, "bits": bits, "test_acc": 0.9,
             "mdl_bits": 1000 * (task == "easy") + 10 * dim + bits + s}
            for task in ("easy", "hard") for dim in (40, 90) for bits in (32, 8) for s in SEEDS
        ]
    )  # fmt: skip
    summary, _ = dimension_tables(RUNS, {"hard": ["test_acc"]}, BASELINES, codes=codes, ratio=0.9)
    assert summary["d_int"].tolist() == [90] and summary["mdl_bits"].tolist() == [900 + 8 + 1]
    unreached, _ = dimension_tables(RUNS, {"hard": ["test_acc"]}, 2.0, codes=codes)
    assert unreached[["d_int", "mdl_bits"]].isna().all(axis=None)


def test_another_selection_and_one_number_for_all() -> None:
    summary, seeds = dimension_tables(
        RUNS, {"hard": ["test_acc"]}, 0.9, ratio=1.0, selection="test_acc"
    )
    assert summary["baseline"].tolist() == [0.9]
    assert seeds["at_least"].max() == 90


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="names no task"):
        dimension_tables(RUNS, {}, 0.9)
    with pytest.raises(ValueError, match="runs is empty"):
        dimension_tables(RUNS, {"other": ["test_acc"]}, 0.9)
    with pytest.raises(KeyError):
        dimension_tables(RUNS, {"hard": ["reward"]}, 0.9)
