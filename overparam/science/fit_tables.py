"""Adaptive splines as tables, one row per fit and one per knot, and read back from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from overparam.science.autoknots import AutoKnotsResult
from overparam.store import Tables

__all__ = ["fit_tables", "read_fits"]


def fit_tables(
    fits: Sequence[tuple[Mapping[str, Any], AutoKnotsResult]],
) -> dict[str, pd.DataFrame]:
    """What searches found, ready to be stored.

    Args:
        fits: the labels of each fit (function, tolerance, ...) and its result, at least one.

    Returns:
        ``fits``: labels, n_knots, n_eval, n_sweeps, converged; ``knots``: labels, x, sweep_added,
        fit after fit, n_knots rows each.

    Raises:
        ValueError: there is no fit.

    Example:
        >>> from overparam.science import autoknots
        >>> tables = fit_tables([({"f": "exp"}, autoknots(np.exp, 0, 1))])
        >>> len(tables["knots"]) == tables["fits"]["n_knots"].sum()
        np.True_
    """
    if not fits:
        raise ValueError("fits must hold at least one fit")
    labels = pd.DataFrame([dict(label) for label, _ in fits])
    results = [result for _, result in fits]
    rows = labels.assign(
        n_knots=[len(result.x) for result in results],
        n_eval=[result.n_eval for result in results],
        n_sweeps=[result.n_sweeps for result in results],
        converged=[result.converged for result in results],
    )
    knots = labels.loc[labels.index.repeat(rows["n_knots"])].reset_index(drop=True)
    return {
        "fits": rows,
        "knots": knots.assign(
            x=np.concatenate([result.x for result in results]),
            sweep_added=np.concatenate([result.sweep_added for result in results]),
        ),
    }


def read_fits(tables: Tables) -> pd.DataFrame:
    """The fits of stored :func:`fit_tables`, of one step or several cells of it.

    Returns:
        the columns of ``fits``, and in each row the arrays x and sweep_added (n_knots,) of its
        knots.

    Raises:
        ValueError: the knots are not as many as the fits say.
    """
    fits = tables["fits"]
    ends = np.cumsum(fits["n_knots"].to_numpy())
    for name in ("x", "sweep_added"):
        column = tables.array("knots", name)
        if len(column) != ends[-1]:
            raise ValueError(f"knots has {len(column)} rows, fits counts {ends[-1]} knots")
        fits[name] = pd.Series(np.split(column, ends[:-1]), index=fits.index, dtype=object)
    return fits
