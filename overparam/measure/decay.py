"""Which law a falling error follows: a power of t, an exponential, or none any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["DecayFit", "TooFewPointsError", "fit_decay", "steps_until"]

Float = NDArray[np.float64]

# A run of values within PLATEAU_RATIO of the last one, over the second half of the steps or more,
# is a plateau: a power law flatter than t^-0.26 is the steepest that passes for one.
PLATEAU_RATIO = 1.2
# How far above a plateau a value must lie to still tell something about the decay.
PLATEAU_MARGIN = 10.0


class TooFewPointsError(ValueError):
    """A tail with fewer than three points, to which no law can be fitted."""


@dataclass(frozen=True)
class DecayFit:
    """Least-squares fits of log(value) on the tail.

    Attributes:
        law: "exponential" or "power", whichever has the larger R^2; "plateau" if the whole tail
            is one.
        powerlaw_slope, powerlaw_r2: of log(value) on log(step).
        exp_rate, exp_r2: value ~ exp(-exp_rate * step); positive for a decay.
        plateau: level of the plateau that the series ends in, or None.
        first, last: steps at both ends of the tail that was fitted.
        points: number of recorded steps in it.
    """

    law: Literal["power", "exponential", "plateau"]
    powerlaw_slope: float
    powerlaw_r2: float
    exp_rate: float
    exp_r2: float
    plateau: float | None
    first: int
    last: int
    points: int


def fit_decay(
    step: ArrayLike, value: ArrayLike, floor: float = 1e-24, tail: float = 0.25
) -> DecayFit:
    """Fit a power law and an exponential to the tail of a decaying positive series.

    The tail is [tail * T', T'] with T' the last step whose value is above ``floor`` (rounding
    level). If the series ends in a plateau above the floor (noise, low precision), ten times its
    level takes the floor's place, so that the plateau is not mistaken for a slow rate.

    Args:
        step: (n,) strictly increasing step numbers >= 0.
        value: (n,) non-negative values, for example squared errors.
        floor: values at or below it are ignored.
        tail: where the tail begins, as a fraction of T'.

    Raises:
        ValueError: for shapes that differ, or values that are negative or not finite.
        TooFewPointsError: for fewer than three points in the tail.

    Example:
        >>> t = np.arange(1, 200)
        >>> round(fit_decay(t, 3.0 / t**2).powerlaw_slope, 6)
        -2.0
    """
    t, v = np.asarray(step, dtype=np.float64), np.asarray(value, dtype=np.float64)
    if t.ndim != 1 or t.shape != v.shape:
        raise ValueError(f"step and value must be equally long vectors, got {t.shape}, {v.shape}")
    if not np.isfinite(v).all() or (v < 0).any():
        raise ValueError("value must be finite and >= 0")
    if (np.diff(t) <= 0).any() or (t < 0).any():
        raise ValueError("step must be >= 0 and strictly increasing")
    if not floor > 0 or not 0 < tail < 1:
        raise ValueError(f"floor must be > 0 and tail in (0, 1), got {floor} and {tail}")
    plateau = _plateau(t, v, floor)
    limit = floor if plateau is None else PLATEAU_MARGIN * plateau
    chosen = _tail(t, v, limit, tail)
    flat = plateau is not None and chosen.sum() < 3
    if flat:
        chosen = _tail(t, v, floor, tail)
    if chosen.sum() < 3:
        raise TooFewPointsError(
            f"value has {chosen.sum()} points above {limit:g} in its tail, at least 3 are needed"
        )
    x, z = t[chosen], np.log(v[chosen])
    slope, power_r2 = _line(np.log(x), z)
    rate, exp_r2 = _line(x, z)
    law: Literal["power", "exponential"] = "exponential" if exp_r2 > power_r2 else "power"
    return DecayFit(
        "plateau" if flat else law,
        slope,
        power_r2,
        -rate,
        exp_r2,
        plateau,
        int(x[0]),
        int(x[-1]),
        len(x),
    )


def steps_until(step: ArrayLike, value: ArrayLike, level: float, exp_rate: float = 0.0) -> float:
    """When a decaying series first falls below a level.

    Between two records the logarithm of the value is taken as linear. A series that ends above the
    level is continued as value ~ exp(-exp_rate * step).

    Args:
        step, value: as for :func:`fit_decay`.
        level: > 0.
        exp_rate: rate beyond the last step; at most 0 means that it never gets there.

    Returns:
        The step, not rounded; infinity for never.

    Example:
        >>> round(steps_until([0, 10], [1.0, 1e-2], 1e-3, exp_rate=np.log(10) / 5), 6)
        15.0
    """
    t, v = np.asarray(step, dtype=np.float64), np.asarray(value, dtype=np.float64)
    if t.ndim != 1 or t.shape != v.shape or not t.size:
        raise ValueError(f"step and value must be equally long vectors, got {t.shape}, {v.shape}")
    if not level > 0:
        raise ValueError(f"level must be > 0, got {level}")
    below = np.flatnonzero(v < level)
    if below.size == 0:
        return float(t[-1] + np.log(v[-1] / level) / exp_rate) if exp_rate > 0 else np.inf
    first = int(below[0])
    if first == 0 or v[first] <= 0:
        return float(t[first])
    z = np.log(v[first - 1 : first + 1])
    return float(t[first - 1] + (t[first] - t[first - 1]) * (z[0] - np.log(level)) / (z[0] - z[1]))


def _plateau(t: Float, v: Float, floor: float) -> float | None:
    if v.size < 3 or v[-1] <= floor:
        return None
    near = np.abs(np.log(np.maximum(v, floor) / v[-1])) <= np.log(PLATEAU_RATIO)
    start = v.size - int(np.argmin(near[::-1])) if not near.all() else 0
    return float(np.median(v[start:])) if t[start] <= t[-1] / 2 else None


def _tail(t: Float, v: Float, limit: float, tail: float) -> NDArray[np.bool_]:
    above = (v > limit) & (t > 0)
    last = t[above][-1] if above.any() else 0.0
    return above & (t >= tail * last) & (t <= last)


def _line(x: Float, z: Float) -> tuple[float, float]:
    """Slope and R^2 of a straight line; R^2 is 0 for a constant z, which no law explains."""
    dx, dz = x - x.mean(), z - z.mean()
    slope = float(dx @ dz / (dx @ dx))
    total = float(dz @ dz)
    return slope, 0.0 if total == 0 else 1 - float(((dz - slope * dx) ** 2).sum()) / total
