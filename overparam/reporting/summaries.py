"""Fewer rows for a chart: means with intervals over seeds, and thinned curves."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtrit

LEVEL = 0.95


def intervals(
    frame: pd.DataFrame, by: Sequence[str], value: str, *, log: bool = False
) -> pd.DataFrame:
    r"""Mean of ``value`` over the rows of each group with its 95 % t interval.

    :math:`\bar y \pm t_{n-1,\,.975}\, s/\sqrt n`; with ``log`` the same of the logarithm, raised
    back: the geometric mean. Rows whose value is not finite are left out; one row alone has no
    interval (NaN).

    Returns:
        One row per group, in order of appearance: the columns of ``by``, mean, low, high, n.

    Raises:
        ValueError: no rows, or with ``log`` a value that is not positive.

    >>> frame = pd.DataFrame({"size": [1, 1, 1], "loss": [0.0, 1.0, 2.0]})
    >>> intervals(frame, ["size"], "loss").round(3).values.tolist()
    [[1.0, 1.0, -1.484, 3.484, 3.0]]
    """
    values = frame[value].astype(float).replace([np.inf, -np.inf], np.nan)
    check_positive(values, value, log)
    table = frame[list(by)].assign(value=np.log(values) if log else values).dropna()
    if table.empty:
        raise ValueError(f"there is nothing to draw: column {value!r} has no finite values")
    groups = table.groupby(list(by), sort=False)["value"]
    found = groups.agg(["mean", "std", "count"]).reset_index()
    n = found["count"].to_numpy()
    quantile = stdtrit(np.maximum(n - 1, 1), (1 + LEVEL) / 2)
    half = np.where(n > 1, quantile * found["std"] / np.sqrt(n), np.nan)
    back = np.exp if log else np.asarray
    return found[list(by)].assign(
        mean=back(found["mean"]),
        low=back(found["mean"] - half),
        high=back(found["mean"] + half),
        n=n,
    )


def thinned(
    frame: pd.DataFrame,
    x: str,
    by: Sequence[str] = (),
    *,
    rows: int = 400,
    log: bool = False,
) -> pd.DataFrame:
    """At most ``rows`` rows per group, evenly spaced along ``x`` (its logarithm), the ends kept.

    Peaks between the rows that stay are lost: aggregate what has any.

    Raises:
        ValueError: ``rows`` below 2, or with ``log`` a value of ``x`` that is not positive.
    """
    if rows < 2:
        raise ValueError(f"rows must be at least 2, got {rows}")
    check_positive(frame[x], x, log)
    groups = frame.groupby(list(by), sort=False) if by else [((), frame)]
    return pd.concat([_thin(group.sort_values(x), x, rows, log) for _, group in groups])


def _thin(group: pd.DataFrame, x: str, rows: int, log: bool) -> pd.DataFrame:
    if len(group) <= rows:
        return group
    at = group[x].to_numpy(dtype=float)
    at = np.log(at) if log else at
    nearest = np.searchsorted(at, np.linspace(at[0], at[-1], rows))
    return group.iloc[np.unique([0, *nearest.clip(max=len(group) - 1), len(group) - 1])[-rows:]]


def check_positive(values: pd.Series, name: str, log: bool) -> None:
    """Refuse what a logarithmic axis can't show.

    Raises:
        ValueError: a value that is not positive.
    """
    if log and (values <= 0).any():
        raise ValueError(f"a logarithmic axis can't show {values.min()!r} in {name!r}")
