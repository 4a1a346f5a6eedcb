"""Splines on plain grids, the baseline of every adaptive knot search."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline

from overparam.science.autoknots import AutoKnotsResult
from overparam.science.knot_sampling import Function, Sampler, Space, check_count, spaced_knots

__all__ = ["grid_spline"]


def grid_spline(
    f: Function,
    a: float,
    b: float,
    n: int,
    space: Space = "linear",
    *,
    vectorize: bool = False,
) -> AutoKnotsResult:
    """Not-a-knot cubic spline through n knots equispaced in x, ln x or asinh x.

    Raises:
        ValueError: for n < 4, an interval outside the domain of ``space``, or values of f that
            are not finite.
    """
    check_count("n", n)
    _, x = spaced_knots(float(a), float(b), n, space)
    sampler = Sampler(f, vectorize)
    y = sampler(x)
    return AutoKnotsResult(
        spline=CubicSpline(x, y),
        x=x,
        y=y,
        n_eval=sampler.count,
        n_sweeps=0,
        converged=True,
        history=(),
        sweep_added=np.zeros(n, dtype=np.int64),
        rel=np.nan,
        scale=np.zeros(()),
        space=space,
    )
