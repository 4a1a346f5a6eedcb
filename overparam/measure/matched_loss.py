"""Sharpness of trainings compared where their training losses are equal.

At the end of a training the comparison misleads: a cross entropy that is driven to zero has a
vanishing Hessian, so that the method that over-fits most looks flattest.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray


def sharpness_at_loss(
    loss: ArrayLike, sharpness: ArrayLike, levels: ArrayLike
) -> NDArray[np.float64]:
    """Sharpness of one training where its loss first falls to each level.

    Between two recorded epochs the logarithm of the sharpness is taken as linear in the logarithm
    of the loss. Epochs in which the loss was not the lowest so far are left out.

    Args:
        loss: training loss by epoch (T,), positive; epochs with a sharpness that is not finite or
            not positive are left out.
        sharpness: (T,).
        levels: losses (L,), positive.

    Returns:
        (L,); NaN at levels above the first or below the last recorded loss.

    Raises:
        ValueError: shapes that differ, or a loss or level that is not positive.

    Example:
        >>> sharpness_at_loss([1.0, 0.25], [2.0, 8.0], [1.0, 0.5, 0.1]).round(6)
        array([ 2.,  4., nan])
    """
    losses, values = np.asarray(loss, dtype=float), np.asarray(sharpness, dtype=float)
    wanted = np.asarray(levels, dtype=float)
    if losses.ndim != 1 or losses.shape != values.shape:
        raise ValueError(
            f"loss has shape {losses.shape} and sharpness {values.shape}; allowed (T,)"
        )
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(losses) & np.isfinite(values) & (values > 0)
    losses, values = losses[usable], values[usable]
    if (losses <= 0).any() or not (wanted > 0).all():
        raise ValueError("loss and levels must be positive: they are compared in logarithms")
    if not losses.size:
        return np.full(wanted.shape, np.nan)
    falling = losses == np.minimum.accumulate(losses)
    _, first = np.unique(losses[falling], return_index=True)
    x, y = np.log(losses[falling][first]), np.log(values[falling][first])
    return np.exp(np.interp(np.log(wanted), x, y, left=np.nan, right=np.nan))


def matched_loss_report(
    path: pd.DataFrame,
    baseline: str,
    *,
    levels: int = 5,
    by: Sequence[str] = ("method", "seed"),
    within: str | None = None,
    loss: str = "train_loss",
    sharpness: str = "lambda_max",
) -> pd.DataFrame:
    """Sharpness of every training relative to the baseline's, at equal training losses.

    For each method the levels are spaced evenly in the logarithm over the losses that all its
    trainings and all of the baseline's reached and none of them started below. Each training is
    compared with the baseline's of the same remaining ``by`` values (the same seed).

    Args:
        path: a row per epoch, with the columns of ``by``, ``loss`` and ``sharpness``.
        baseline: value of the first column of ``by``.
        levels: number of loss levels, at least 1.
        by: the method's column, then those that pair trainings.
        within: a column, e.g. the task: its values are reported each by itself.
        loss, sharpness: names of columns.

    Returns:
        A row per training and level: the ``by`` columns, ``loss_level``, ``sharpness``, ``ratio``
        to the baseline's, and ``within``. A method whose losses do not overlap the baseline's has
        no rows, nor has a value of ``within`` for which the baseline was not run.

    Raises:
        ValueError: levels < 1, a missing column, or (without ``within``) no training of the
            baseline.
    """
    columns = list(by)
    needed = [*columns, loss, sharpness, *([] if within is None else [within])]
    missing = [name for name in needed if name not in path]
    if missing or levels < 1:
        raise ValueError(f"path lacks {missing}, levels={levels}; allowed: levels >= 1")
    if within is None:
        return _report(path, baseline, levels, columns, loss, sharpness)
    reports = [
        _report(part, baseline, levels, columns, loss, sharpness).assign(**{within: name})
        for name, part in path.groupby(within)
        if (part[columns[0]] == baseline).any()
    ]
    empty = _empty(path, [*columns, within])
    return pd.concat([r for r in reports if len(r)] or [empty], ignore_index=True)


def _report(
    path: pd.DataFrame, baseline: str, levels: int, columns: list[str], loss: str, sharpness: str
) -> pd.DataFrame:
    methods = path[columns[0]].unique()
    if baseline not in methods:
        raise ValueError(f"baseline={baseline!r}; allowed: {', '.join(map(str, methods))}")
    usable = path[np.isfinite(path[sharpness]) & (path[sharpness] > 0)]
    ends = usable.groupby(columns)[loss].agg(["min", "max"])
    parts = []
    for method in methods:
        shared = ends[ends.index.get_level_values(0).isin([method, baseline])]
        low, high = shared["min"].max(), shared["max"].min()
        if not low < high:
            continue
        # The ends themselves belong to one training alone and may be lost in rounding.
        grid = np.geomspace(low, high, levels + 2)[1:-1]
        own, reference = (
            {
                names[1:]: sharpness_at_loss(part[loss], part[sharpness], grid)
                for names, part in usable[usable[columns[0]] == kind].groupby(columns, sort=False)
            }
            for kind in (method, baseline)
        )
        for names, values in own.items():
            row = dict(zip(columns, (method, *names), strict=True))
            ratio = values / reference.get(names, np.nan)
            row |= {"loss_level": grid, "sharpness": values, "ratio": ratio}
            parts.append(pd.DataFrame(row))
    return pd.concat(parts or [_empty(path, columns)], ignore_index=True)


def _empty(path: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """No rows, but columns of the types that they have otherwise."""
    numbers = dict.fromkeys(("loss_level", "sharpness", "ratio"), np.empty(0))
    return path.loc[path.index[:0], columns].assign(**numbers)
