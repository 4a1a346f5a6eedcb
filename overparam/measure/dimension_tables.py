"""The intrinsic dimensions of several tasks as two tables: of the mean curves, and by seed."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from overparam.measure.intrinsic_dimension_runs import (
    dimension_by_seed,
    dimension_summary,
    intrinsic_dimension_of_runs,
)
from overparam.measure.shortest_code import shortest_code


def dimension_tables(
    runs: pd.DataFrame,
    criteria: Mapping[str, Iterable[str]],
    baselines: float | pd.DataFrame,
    *,
    codes: pd.DataFrame | None = None,
    ratio: float = 0.9,
    selection: str = "train_acc",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """d_int of each task by its criteria, and the lengths of its codes (Li et al. 2018, section 2).

    Args:
        runs: a row per task, dim, lr and seed, with columns D, the criteria and ``selection``, as
            :func:`~overparam.measure.intrinsic_dimension_of_runs` takes them.
        criteria: by task, the columns that are to reach the threshold, one result each.
        baselines: one number for all, or a row per task and seed with the criteria as columns.
        codes: quantised coordinates of the runs, as :func:`~overparam.measure.shortest_code` takes
            them, with columns task and dim; those at d_int give the code.
        ratio: share of the baseline to reach.
        selection: the column that chooses the learning rate at each d.

    Returns:
        A row per task and criterion: task, criterion, D, what
        :func:`~overparam.measure.dimension_summary` gives, baseline (mean over seeds), mdl_bits
        (mean over seeds; NaN without a code).
        A row per task, criterion and seed: what :func:`~overparam.measure.dimension_by_seed`
        gives, task, criterion, D.

    Raises:
        ValueError: no task; what the functions named above refuse, also for a task without runs.
        KeyError: a column or a seed is missing.

    Example:
        >>> runs = pd.DataFrame({"task": "toy", "dim": [5, 20], "lr": 0.1, "seed": 0, "D": 100,
        ...                      "train_acc": [0.2, 0.9], "test_acc": [0.1, 0.8]})
        >>> summary, by_seed = dimension_tables(runs, {"toy": ["test_acc"]}, 0.85)
        >>> summary["d_int"].tolist(), by_seed["at_least"].round(1).tolist()
        ([20.0], [18.7])
    """
    if not criteria:
        raise ValueError("criteria names no task")
    summary, seeds = [], []
    for task, criterion in ((task, name) for task, names in criteria.items() for name in names):
        own = runs[runs["task"] == task]
        baseline = _baseline(baselines, task, criterion)
        found, _ = intrinsic_dimension_of_runs(
            own, criterion, baseline, ratio=ratio, selection=selection
        )
        known = {"task": task, "criterion": criterion, "D": own["D"].iloc[0]}
        row = {**known, **dimension_summary(found), "baseline": np.mean(baseline)}
        summary.append(row | {"mdl_bits": _mean_code(codes, task, found.d_int, criterion)})
        seeds.append(dimension_by_seed(found).assign(**known))
    return pd.DataFrame(summary), pd.concat(seeds, ignore_index=True)


def _baseline(baselines: float | pd.DataFrame, task: str, criterion: str) -> float | pd.Series:
    if not isinstance(baselines, pd.DataFrame):
        return baselines
    own = baselines[baselines["task"] == task]
    return own.set_index("seed")[criterion]


def _mean_code(codes: pd.DataFrame | None, task: str, d_int: int | None, criterion: str) -> float:
    if codes is None or d_int is None:
        return np.nan
    own = codes[(codes["task"] == task) & (codes["dim"] == d_int)]
    return np.nan if own.empty else float(shortest_code(own, criterion).mean())
