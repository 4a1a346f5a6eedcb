"""Which quantities rise and fall together along a training, run by run."""

from collections.abc import Sequence

import pandas as pd


def run_correlations(
    path: pd.DataFrame, by: Sequence[str], of: str, others: Sequence[str]
) -> pd.DataFrame:
    """Spearman's rank correlation over the epochs of each run.

    Trends that all runs share do not show up as a link between runs, but a trend that two columns
    share within a run does: read it beside a control.

    Args:
        path: a row per run and epoch.
        by: the columns that tell runs apart.
        of: the column of interest.
        others: columns to correlate it with.

    Returns:
        A row per run: the columns of ``by``, and ``with_NAME`` for each of the others: NaN where
        fewer than three epochs have both values, or one of them does not vary.

    Raises:
        KeyError: there is no such column.

    Example:
        >>> path = pd.DataFrame({"seed": 0, "kl": [3.0, 2.0, 1.0], "drop": [0.9, 0.4, 0.1]})
        >>> run_correlations(path, ["seed"], "kl", ["drop"]).to_dict("records")
        [{'seed': 0, 'with_drop': 1.0}]
    """
    keys, names = list(by), {name: f"with_{name}" for name in others}
    if path.empty:
        return path[[*keys, *names]].rename(columns=names)
    matrices = path.groupby(keys)[[of, *names]].corr("spearman", min_periods=3)
    rows = matrices[matrices.index.get_level_values(-1) == of].droplevel(-1)
    return rows[list(names)].rename(columns=names).reset_index()
