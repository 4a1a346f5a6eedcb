"""Which rows of a table (x, y) a cubic spline can do without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from overparam.science.knot_sampling import (
    BoundaryCondition,
    Float,
    check_count,
    check_tolerance,
)

__all__ = ["ThinnedTable", "needed_rows", "thin_table"]


@dataclass(frozen=True)
class ThinnedTable:
    """Rows kept, and the spline through them.

    Attributes:
        keep: (n,) True for a row that is needed, False for one that may be dropped.
        spline: cubic spline through the kept rows.
        max_ratio: largest |y - S(x)| / (rel (|y| + scale)) over all rows, at most 1.
    """

    keep: NDArray[np.bool_]
    spline: CubicSpline
    max_ratio: float


def thin_table(
    x: ArrayLike,
    y: ArrayLike,
    rel: float = 1e-5,
    scale: ArrayLike = 0.0,
    n0: int = 6,
    bc: BoundaryCondition = "not-a-knot",
) -> ThinnedTable:
    """Choose rows whose spline meets the tolerance at every row of the table.

    The knot search of :func:`overparam.science.autoknots` where f is known at given points only,
    and at all of them for free: from ``n0`` rows on, every bin in violation gets its worst row as
    a knot, until |y - S(x)| <= rel (|y| + scale) at *every* row. Unlike the search on a callable
    this is a guarantee, at the rows.

    Args:
        x: (n,) strictly increasing.
        y: (n,) or (n, d).
        rel, scale, n0, bc: as for ``autoknots``.

    Raises:
        ValueError: for a table with fewer rows than the spline needs, x not increasing, values
            that are not finite, or a tolerance out of range.

    Example:
        >>> x = np.linspace(0, 1, 1001)
        >>> int(thin_table(x, x**3).keep.sum())
        6
    """
    tolerance = check_tolerance(rel, scale)
    check_count("n0", n0, bc)
    points, values = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if points.ndim != 1 or values.ndim not in (1, 2) or len(values) != len(points):
        raise ValueError(
            f"x and y must have shapes (n,) and (n,) or (n, d), got {points.shape}, {values.shape}"
        )
    check_count("the number of rows", len(points), bc)
    if not (np.isfinite(points).all() and np.isfinite(values).all()):
        row = int(
            np.argmin(np.isfinite(points) & np.isfinite(values.reshape(len(points), -1)).all(1))
        )
        raise ValueError(f"x and y must be finite, row {row} is not")
    if (np.diff(points) <= 0).any():
        row = int(np.argmax(np.diff(points) <= 0)) + 1
        raise ValueError(f"x must be strictly increasing, row {row} is not above row {row - 1}")
    keep = np.zeros(len(points), dtype=bool)
    keep[np.linspace(0, len(points) - 1, min(n0, len(points))).round().astype(int)] = True
    while True:
        spline = CubicSpline(points[keep], values[keep], bc_type=bc)
        ratio = _ratio(values, spline(points), rel, tolerance)
        ratio[keep] = 0.0
        if (ratio <= 1).all():
            return ThinnedTable(keep, spline, float(ratio.max()))
        keep[_worst_of_each_bin(ratio, np.flatnonzero(keep))] = True


def needed_rows(
    table: pd.DataFrame, rels: Sequence[float], scale: float = 0.0, n0: int = 6
) -> pd.DataFrame:
    """:func:`thin_table` at several tolerances.

    Args:
        table: columns x, strictly increasing, and y.
        rels: relative tolerances.
        scale, n0: as for ``thin_table``.

    Returns:
        The table once per tolerance, with the columns rel, keep (whether the row is needed) and
        max_ratio (largest error over tolerance of any row).

    Raises:
        ValueError: what ``thin_table`` refuses.
    """
    found = [(rel, thin_table(table["x"], table["y"], rel, scale, n0)) for rel in rels]
    return pd.concat(
        [table.assign(rel=rel, keep=t.keep, max_ratio=t.max_ratio) for rel, t in found],
        ignore_index=True,
    )


def _ratio(y: Float, fitted: Float, rel: float, scale: Float) -> Float:
    error, allowed = np.abs(y - fitted), rel * (np.abs(y) + scale)
    ratio = np.divide(error, allowed, out=np.where(error > 0, np.inf, 0.0), where=allowed > 0)
    return np.asarray(ratio.reshape(len(y), -1).max(1))


def _worst_of_each_bin(ratio: Float, knots: NDArray[np.intp]) -> NDArray[np.intp]:
    worst = np.maximum.reduceat(ratio, knots)
    bin_of_row = np.repeat(np.arange(len(knots)), np.diff(np.append(knots, len(ratio))))
    rows = np.flatnonzero((ratio == worst[bin_of_row]) & (ratio > 1))
    _, first = np.unique(bin_of_row[rows], return_index=True)
    return np.asarray(rows[first])
