"""Runs at the learning rate that trained best."""

from collections.abc import Sequence

import pandas as pd


def at_best_rate(
    runs: pd.DataFrame, by: Sequence[str] = (), *, selection: str = "train_acc"
) -> pd.DataFrame:
    """The rows of the learning rate with the best mean ``selection`` over seeds, in each group.

    Chosen by what was trained on, so that the choice does not see the performance it is made for.

    Args:
        runs: a row per lr and seed of each group.
        by: columns that make a group; all rows are one by default.
        selection: the column that chooses; higher is better.

    Returns:
        Those rows; of several equally good rates all.

    Raises:
        KeyError: a column is missing.

    Example:
        >>> runs = pd.DataFrame({"lr": [0.1, 0.1, 0.3, 0.3], "train_acc": [0.7, 0.9, 0.95, 0.5]})
        >>> at_best_rate(runs)["lr"].unique().tolist()
        [0.1]
    """
    means = runs.groupby([*by, "lr"])[selection].transform("mean")
    best = means.groupby([runs[name] for name in by]).transform("max") if by else means.max()
    return runs[means == best]
