"""FOUR_POINT: local knot search by cubics through four equispaced points of a bin.

The variant of AutoKnots without a global spline during the search, arXiv 2412.13423.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

from overparam.science.autoknots import EPSILON, TINY, AutoKnotsResult, Sweep
from overparam.science.knot_sampling import (
    Float,
    Function,
    Sampler,
    check_interval,
    check_tolerance,
    discontinuity,
)

__all__ = ["autoknots_four_point"]

# Nodes of a bin, and the new points that cutting each of its thirds into thirds adds.
NODES = np.arange(4) / 3
NEW = np.array([1, 2, 4, 5, 7, 8]) / 9
# Lagrange weights of the cubic through the nodes at the new points, (6, 4).
WEIGHTS = np.array(
    [[np.prod([(p - r) / (q - r) for r in NODES if r != q]) for q in NODES] for p in NEW]
)
# Order of the ten points of a bin and where its three children take their four points.
ORDER = np.argsort(np.concatenate([NODES, NEW]))
CHILDREN = np.array([[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]])


def autoknots_four_point(
    f: Function,
    a: float,
    b: float,
    rel: float = 1e-5,
    scale: ArrayLike = 0.0,
    max_knots: int = 1_000_000,
    *,
    vectorize: bool = False,
) -> AutoKnotsResult:
    """Interpolate f on [a, b] with knots from a recursive search in thirds.

    A bin holds four equispaced points. Each of its thirds is cut into thirds, which makes three
    new bins and six new points; the bin passes if the cubic P through its four points satisfies
    |f - P| <= rel (|f| + scale) at all six. A bin is closed once it and its parent have passed.
    Every point becomes a knot of one global not-a-knot spline at the end.

    Args, results and errors: as for :func:`overparam.science.autoknots`.
    """
    tolerance = check_tolerance(rel, scale)
    check_interval(a, b, "linear")
    if max_knots < 4:
        raise ValueError(f"max_knots must be at least 4, got {max_knots}")
    sampler = Sampler(f, vectorize)
    bins = np.linspace(float(a), float(b), 4)[None]
    values = sampler(bins[0])[None]
    if tolerance.ndim and tolerance.shape != values.shape[2:]:
        raise ValueError(f"scale has shape {tolerance.shape}, f has {values.shape[2:]} components")
    found_x, found_y = [bins[0]], [values[0]]
    passes = np.zeros(1, dtype=np.int64)
    history: list[Sweep] = []
    converged = True
    while len(bins):
        if sampler.count + 6 * len(bins) > max_knots:
            warnings.warn(
                f"max_knots = {max_knots} reached with {len(bins)} bins open",
                UserWarning,
                stacklevel=2,
            )
            converged = False
            break
        width = bins[:, -1:] - bins[:, :1]
        x = bins[:, :1] + width * NEW
        y = sampler(x.reshape(-1)).reshape(*x.shape, *values.shape[2:])
        cubic = np.einsum("pq,bq...->bp...", WEIGHTS, values)
        ok = np.abs(y - cubic) <= rel * (np.abs(y) + tolerance)
        passed = ok.reshape(len(bins), -1).all(1)
        largest = max(float(np.abs(part).max()) for part in found_y)
        _refuse_jump(bins, values, passed, float(b) - float(a), largest, tolerance)
        history.append(Sweep(sampler.count - x.size, len(bins), int((~passed).sum())))
        found_x.append(x.reshape(-1))
        found_y.append(y.reshape(-1, *values.shape[2:]))
        passes = np.repeat(np.where(passed, passes + 1, 0), 3)
        still_open = passes < 2
        all_x, all_y = np.concatenate([bins, x], 1), np.concatenate([values, y], 1)
        bins = all_x[:, ORDER][:, CHILDREN].reshape(-1, 4)[still_open]
        values = all_y[:, ORDER][:, CHILDREN].reshape(-1, *values.shape[1:])[still_open]
        passes = passes[still_open]
    order = np.argsort(np.concatenate(found_x))
    knots, knot_values = np.concatenate(found_x)[order], np.concatenate(found_y)[order]
    added = np.repeat(np.arange(len(found_x)), [len(part) for part in found_x])[order]
    return AutoKnotsResult(
        spline=CubicSpline(knots, knot_values),
        x=knots,
        y=knot_values,
        n_eval=sampler.count,
        n_sweeps=len(history),
        converged=converged,
        history=tuple(history),
        sweep_added=added,
        rel=rel,
        scale=tolerance,
        space="linear",
    )


def _refuse_jump(
    bins: Float, values: Float, passed: np.ndarray, length: float, largest: float, scale: Float
) -> None:
    third = (bins[:, -1] - bins[:, 0]) / 9
    size = np.maximum(np.abs(bins).max(1), TINY)
    narrow = ~passed & ((third < 100 * EPSILON * size) | (third < 100 * EPSILON * length))
    if narrow.any():
        ends = [0, 1, 3]
        raise discontinuity(bins[narrow][:, ends], values[narrow][:, ends], largest, scale)
