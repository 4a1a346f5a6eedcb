"""Knot searches by name on many functions, and the plain grids that they are compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from overparam.measure import timed
from overparam.science.autoknots import AutoKnotsResult, autoknots
from overparam.science.fit_tables import fit_tables
from overparam.science.four_point import autoknots_four_point
from overparam.science.grid_spline import grid_spline
from overparam.science.knot_sampling import Space
from overparam.science.target_functions import TargetFunction

__all__ = ["SEARCHES", "grids_of_equal_size", "knot_search", "search_targets"]

# By name, what a search asks of :func:`overparam.science.autoknots`.
SEARCHES: Mapping[str, Mapping[str, Any]] = {
    "adaptive": {},
    "refine1": {"refine": 1},
    "refine1_ns0": {"refine": 1, "refine_ns": 0.0},
    "refine4": {"refine": 4},
    "refine4_ns0": {"refine": 4, "refine_ns": 0.0},
    "value_only": {"integral_test": False},
    "four_point": {},
}
GRIDS: Mapping[str, Space] = {"uniform": "linear", "log_grid": "log"}


def knot_search(method: str, target: TargetFunction, rel: float, n0: int = 6) -> AutoKnotsResult:
    """Adaptive knots for one function by a named search.

    Args:
        method: "adaptive" (AutoKnots as it is), "refine1" and "refine4" (wide bins re-opened once
            or four times), the same with "_ns0" (wide is above the mean), "value_only" (without
            the integral test), or "four_point" (which has first points of its own, evenly spaced).
        rel: relative tolerance in (0, 1); the scale is the function's.
        n0: number of first knots.

    Raises:
        ValueError: an unknown method, or what the search refuses.

    Reference: arXiv 2412.13423.
    """
    if method not in SEARCHES:
        raise ValueError(f"method must be one of {tuple(SEARCHES)}, got {method!r}")
    if method == "four_point":
        return autoknots_four_point(target.f, target.a, target.b, rel, target.scale)
    return autoknots(
        target.f, target.a, target.b, rel, target.scale, n0, target.space, **SEARCHES[method]
    )


def search_targets(
    method: str, targets: Iterable[TargetFunction], rels: Sequence[float], n0: int = 6
) -> dict[str, pd.DataFrame]:
    """A named search of every function at every tolerance.

    Args:
        method, n0: as for :func:`knot_search`.
        targets: taken one after the other, so that progress can be shown.
        rels: tolerances.

    Returns:
        the tables of :func:`~overparam.science.fit_tables` with labels function_id and rel; in
        ``fits`` also scale, wall_s (seconds), refine and refine_ns.

    Raises:
        ValueError: no function, or what the search refuses.
    """
    found = [
        (target, rel, *timed(knot_search, method, target, rel, n0))
        for target in targets
        for rel in rels
    ]
    tables = _tables(found)
    how = {"refine": 0, "refine_ns": 1.0} | dict(SEARCHES[method])
    fits = tables["fits"].assign(refine=how["refine"], refine_ns=how["refine_ns"])
    return {**tables, "fits": fits}


def grids_of_equal_size(
    targets: Sequence[TargetFunction], counts: pd.Series
) -> dict[str, pd.DataFrame]:
    """Splines on plain grids with as many knots as a search took, the baseline.

    Args:
        targets: functions; a logarithmic grid is made where the interval is positive.
        counts: number of knots by function_id and rel.

    Returns:
        the tables of :func:`~overparam.science.fit_tables` with labels function_id and rel, and
        method: "uniform" or "log_grid"; in ``fits`` also scale and wall_s (seconds).

    Raises:
        KeyError: a function that was not counted.
    """
    several = []
    for method, space in GRIDS.items():
        found = [
            (target, rel, *timed(grid_spline, target.f, target.a, target.b, n, space))
            for target in targets
            if space == "linear" or target.a > 0
            for rel, n in counts[target.name].items()
        ]
        if found:
            several.append({k: t.assign(method=method) for k, t in _tables(found).items()})
    return {
        name: pd.concat([tables[name] for tables in several], ignore_index=True)
        for name in ("fits", "knots")
    }


def _tables(
    found: Sequence[tuple[TargetFunction, float, AutoKnotsResult, float]],
) -> dict[str, pd.DataFrame]:
    labelled = [({"function_id": t.name, "rel": rel}, result) for t, rel, result, _ in found]
    tables = fit_tables(labelled)
    scales, seconds = [t.scale for t, *_ in found], [spent for *_, spent in found]
    return {**tables, "fits": tables["fits"].assign(scale=scales, wall_s=seconds)}
