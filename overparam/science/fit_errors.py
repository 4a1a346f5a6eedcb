"""How far stored fits are from their functions: errors, their course, the knots over the graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from overparam.measure import spline_violation, violation_curve
from overparam.science.target_functions import TargetFunction

Float = NDArray[np.float64]

__all__ = ["fit_errors", "knots_on_graph", "violation_curves"]

LABELS = ["function_id", "method", "rel", "refine", "n_knots", "n_eval"]


def fit_errors(
    targets: Sequence[TargetFunction], fits: pd.DataFrame, n_grid: int = 20_001
) -> pd.DataFrame:
    """Every spline against its function on a dense grid.

    Args:
        targets: the functions.
        fits: what :func:`~overparam.science.read_fits` reads, of any methods; a column that they
            do not have in common is missing values.
        n_grid: points of the grid, spaced as the function says.

    Returns:
        Function by function a row per fit: function_id, method, rel, refine, n_knots, n_eval;
        max_ratio (largest |f - S| / (rel (|f| + scale))), frac_violating (share of points where
        it is above 1), max_abs, max_rel and x_worst of
        :func:`~overparam.measure.spline_violation`; mean_max_rel, the largest relative error of
        what is derived from the table (:meth:`TargetFunction.derived_error`).

    Raises:
        ValueError: a function that is not finite on the grid.
    """
    rows = []
    for target, fit, spline, known in _on_grids(targets, fits, n_grid):
        seen = spline_violation(spline, known.f, fit["rel"], target.scale, grid=known.grid)
        derived = target.derived_error(spline.x, spline.y, known.grid)
        labels = {name: fit[name] for name in LABELS}
        rows.append({**labels, **asdict(seen), "mean_max_rel": derived})
    return pd.DataFrame(rows).rename(columns={"violating": "frac_violating"})


def violation_curves(
    targets: Sequence[TargetFunction], fits: pd.DataFrame, n_grid: int = 20_001
) -> pd.DataFrame:
    """Error over tolerance along the interval, :func:`~overparam.measure.violation_curve`.

    Args:
        targets, fits, n_grid: as for :func:`fit_errors`, fits of one method.

    Returns:
        x (the middle of a stretch, the interval taken as 0..1), ratio, function_id, rel.
    """
    curves = []
    for target, fit, spline, known in _on_grids(targets, fits, n_grid):
        ratio = violation_curve(spline, known.f, fit["rel"], target.scale, grid=known.grid)
        at = (np.arange(len(ratio)) + 0.5) / len(ratio)
        curve = pd.DataFrame({"x": at, "ratio": ratio})
        curves.append(curve.assign(function_id=target.name, rel=fit["rel"]))
    return pd.concat(curves, ignore_index=True)


def knots_on_graph(targets: Iterable[TargetFunction], fits: pd.DataFrame) -> pd.DataFrame:
    """The knots of fits with the values of their functions.

    Returns:
        x, y, sweep_added, function_id, rel; a row per knot.
    """
    placed = [
        pd.DataFrame({"x": spline.x, "y": spline.y, "sweep_added": fit["sweep_added"]}).assign(
            function_id=target.name, rel=fit["rel"]
        )
        for target in targets
        for fit, spline in _splines(target, fits)
    ]
    return pd.concat(placed, ignore_index=True)


@dataclass(frozen=True)
class _Refitted:
    spline: CubicSpline
    x: Float
    y: Float


@dataclass(frozen=True)
class _Known:
    """A function on a dense grid, evaluated once for all fits of it."""

    grid: Float
    values: Float

    def f(self, _: Float) -> Float:
        return self.values


def _on_grids(
    targets: Iterable[TargetFunction], fits: pd.DataFrame, n_grid: int
) -> Iterator[tuple[TargetFunction, dict[Any, Any], _Refitted, _Known]]:
    """Every fit with its function, the spline through its knots, and the function on a grid."""
    for target in targets:
        grid = target.grid(n_grid)
        known = _Known(grid, target.f(grid))
        for fit, spline in _splines(target, fits):
            yield target, fit, spline, known


def _splines(
    target: TargetFunction, fits: pd.DataFrame
) -> Iterator[tuple[dict[Any, Any], _Refitted]]:
    """The fits of a function, and the spline through the knots of each."""
    for fit in fits[fits["function_id"] == target.name].to_dict("records"):
        x, y = fit["x"], target.f(fit["x"])
        yield fit, _Refitted(CubicSpline(x, y), x, y)
