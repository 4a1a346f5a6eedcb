"""By how much, and where, an interpolant misses its tolerance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["SplineViolation", "spline_violation", "violation_curve"]


Float = NDArray[np.float64]


class Interpolated(Protocol):
    """Anything with a callable ``spline`` on the range of its knots ``x``."""

    @property
    def spline(self) -> Callable[[Any], Any]: ...

    @property
    def x(self) -> NDArray[np.float64]: ...


@dataclass(frozen=True)
class SplineViolation:
    """Errors on a dense grid; for a vector-valued f the worst component of each point counts.

    Attributes:
        max_ratio: largest |f - S| / (rel (|f| + scale)).
        violating: share of the grid with a ratio above 1.
        max_abs, max_rel: largest |f - S| and |f - S| / |f| (0/0 counts as 0).
        x_worst: where ``max_ratio`` is taken.
    """

    max_ratio: float
    violating: float
    max_abs: float
    max_rel: float
    x_worst: float


def spline_violation(
    result: Interpolated,
    f: Callable[[Any], Any],
    rel: float,
    scale: ArrayLike = 0.0,
    n_grid: int = 20_001,
    grid: ArrayLike | None = None,
) -> SplineViolation:
    """Compare a spline with its function on a dense grid.

    Args:
        result: has ``spline`` and knots ``x``, for example from ``overparam.science.autoknots``.
        f: the vectorised function.
        rel, scale: the tolerance rel (|f| + scale); scale one number or one per component.
        n_grid: equispaced points from the first knot to the last one.
        grid: points to use instead.

    Raises:
        ValueError: for rel or scale out of range, fewer than two points, or values of f that are
            not finite.
    """
    points, exact, error, ratio = _compared(result, f, rel, scale, n_grid, grid)
    worst = int(np.argmax(ratio))
    return SplineViolation(
        max_ratio=float(ratio[worst]),
        violating=float((ratio > 1).mean()),
        max_abs=float(error.max()),
        max_rel=float(_ratio(error, np.abs(exact)).max()),
        x_worst=float(points[worst]),
    )


def violation_curve(
    result: Interpolated,
    f: Callable[[Any], Any],
    rel: float,
    scale: ArrayLike = 0.0,
    n_grid: int = 20_001,
    grid: ArrayLike | None = None,
    *,
    stretches: int = 200,
) -> NDArray[np.float64]:
    """Where a spline is near its tolerance: the largest ratio in each stretch of the grid.

    The arguments of :func:`spline_violation`, and the number of equally long stretches into which
    the points are divided; few enough to draw, and no peak is lost.

    Returns:
        (stretches,) largest |f - S| / (rel (|f| + scale)).

    Raises:
        ValueError: as :func:`spline_violation`, or fewer points than stretches.
    """
    *_, ratio = _compared(result, f, rel, scale, n_grid, grid)
    if not 1 <= stretches <= len(ratio):
        raise ValueError(f"stretches must be in 1..{len(ratio)}, got {stretches}")
    return np.array([part.max() for part in np.array_split(ratio, stretches)])


def _compared(
    result: Interpolated,
    f: Callable[[Any], Any],
    rel: float,
    scale: ArrayLike,
    n_grid: int,
    grid: ArrayLike | None,
) -> tuple[Float, Float, Float, Float]:
    """Points, f, error, and the ratio of the worst component at each point."""
    limits = np.asarray(scale, dtype=np.float64)
    if not rel > 0 or not (limits >= 0).all():
        raise ValueError(f"rel must be > 0 and scale >= 0, got {rel} and {scale!r}")
    if grid is None:
        if n_grid < 2:
            raise ValueError(f"n_grid must be at least 2, got {n_grid}")
        points = np.linspace(result.x[0], result.x[-1], n_grid)
    else:
        points = np.asarray(grid, dtype=np.float64)
        if points.ndim != 1 or points.size == 0:
            raise ValueError(f"grid must be a non-empty vector, got shape {points.shape}")
    exact = np.asarray(f(points), dtype=np.float64)
    if exact.shape[:1] != points.shape or not np.isfinite(exact).all():
        raise ValueError(f"f must be vectorised and finite on the grid, got shape {exact.shape}")
    error = np.abs(exact - result.spline(points))
    return points, exact, error, _worst(_ratio(error, rel * (np.abs(exact) + limits)))


def _ratio(error: NDArray[np.float64], allowed: NDArray[np.float64]) -> NDArray[np.float64]:
    nothing_allowed = np.where(error > 0, np.inf, 0.0)
    return np.divide(error, allowed, out=nothing_allowed, where=allowed > 0)


def _worst(ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(ratio.reshape(len(ratio), -1).max(1))
