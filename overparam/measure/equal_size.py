"""Subspaces beside small networks of as many numbers."""

import pandas as pd

from overparam.measure.best_rate import at_best_rate


def equal_size_rivals(runs: pd.DataFrame, nets: pd.DataFrame, dims: pd.Series) -> pd.DataFrame:
    """The accuracy of d coordinates of a large network, and of a small one trained directly.

    Its rival is the smallest network with at least d parameters; each method is taken at its best
    learning rate, see :func:`at_best_rate` (Li et al. 2018, section 3: accuracy against the number
    of trained parameters).

    Args:
        runs: trainings in subspaces, columns task, dim, lr, seed, D, train_acc, test_acc.
        nets: small networks trained directly, with the same columns but dim.
        dims: d by task; NaN finds no subspace and no rival.

    Returns:
        Columns seed, D, test_acc, task, method (``random`` or ``small``), for every task of
        ``nets``.

    Raises:
        KeyError: a task of ``nets`` is not in ``dims``, or a column is missing.
        ValueError: ``nets`` is empty.

    Example:
        >>> row = {"task": "a", "lr": 0.1, "seed": 0, "D": 500, "train_acc": 0.9, "test_acc": 0.8}
        >>> runs = pd.DataFrame([{**row, "dim": 10}, {**row, "dim": 20}])
        >>> nets = pd.DataFrame([{**row, "D": size} for size in (15, 25, 40)])
        >>> equal_size_rivals(runs, nets, pd.Series({"a": 20}))["D"].tolist()
        [500, 25]
    """
    tables = []
    for task, own in nets.groupby("task", sort=False):
        enough = own[own["D"] >= dims[task]]
        found = {
            "random": runs[(runs["task"] == task) & (runs["dim"] == dims[task])],
            "small": enough[enough["D"] == enough["D"].min()],
        }
        for method, rows in found.items():
            best = at_best_rate(rows)[["seed", "D", "test_acc"]]
            tables.append(best.assign(task=task, method=method))
    return pd.concat(tables, ignore_index=True)
