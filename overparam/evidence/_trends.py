"""Evidence from curves: power-law exponents, and whether one quantity rises with another."""

import numpy as np
from numpy.typing import ArrayLike

from overparam.evidence._evidence import Evidence, Region
from overparam.evidence._intervals import FloatArray, mean_interval
from overparam.evidence._level import checked_level
from overparam.evidence._samples import curves, positive
from overparam.evidence._summaries import evidence_of, mean


def loglog_slopes(x: ArrayLike, y: ArrayLike) -> FloatArray:
    r"""Exponent of :math:`y \propto x^s` for each seed: least-squares slope of log y on log x.

    Args:
        x: positive, (points,) shared by all seeds, or (seeds, points); two distinct values at
            least in each row.
        y: positive, (seeds, points), or (points,) for a single curve.

    Returns:
        Slopes (seeds,); NaN where a curve holds a value that is not finite.

    Raises:
        ValueError: shapes that do not match, a value that is not positive, all x equal.

    >>> loglog_slopes([1, 2, 4], [[3, 6, 12], [1, 4, 16]]).round(12).tolist()
    [1.0, 2.0]
    """
    across, along = _matched(x, y, least_points=2)
    log_x, log_y = np.log(positive(across, "x")), np.log(positive(along, "y"))
    centred = log_x - log_x.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        slopes = (centred * log_y).sum(axis=1) / (centred**2).sum(axis=1)
    return np.where(np.isfinite(along).all(axis=1), slopes, np.nan)


def loglog_slope(
    x: ArrayLike,
    y: ArrayLike,
    *,
    region: Region,
    label: str = "",
    level: float | None = None,
) -> Evidence:
    """Mean over seeds of :func:`loglog_slopes`, with its t interval (BCa from n = 30 on).

    The interval speaks of the spread between seeds, not of how well a line fits one curve; a curve
    that does not depend on a seed has :func:`exact` evidence of its slope.
    """
    return mean(loglog_slopes(x, y), region=region, label=label, level=level)


def rank_correlations(x: ArrayLike, y: ArrayLike) -> FloatArray:
    """Spearman's rho of each seed: Pearson's correlation of ranks, ties sharing their mean rank.

    Args:
        x: (points,) shared by all seeds, or (seeds, points); at least three points, not all equal.
        y: (seeds, points), or (points,) for a single curve.

    Returns:
        Correlations (seeds,) in [-1, 1]; NaN where y is constant or not finite.

    Raises:
        ValueError: shapes that do not match, fewer than three points, all x equal.

    >>> rank_correlations([1, 2, 3], [[1, 4, 9], [3, 2, 1]]).tolist()
    [1.0, -1.0]
    """
    from scipy.stats import rankdata  # half a second that only this path has to pay

    across, along = _matched(x, y, least_points=3)
    ranks_x, ranks_y = (rankdata(v, axis=1) for v in (across, along))
    ranks_x -= ranks_x.mean(axis=1, keepdims=True)
    ranks_y -= ranks_y.mean(axis=1, keepdims=True)
    norms = np.sqrt((ranks_x**2).sum(axis=1) * (ranks_y**2).sum(axis=1))
    with np.errstate(invalid="ignore"):
        rho = (ranks_x * ranks_y).sum(axis=1) / norms
    return np.where(np.isfinite(along).all(axis=1), np.clip(rho, -1, 1), np.nan)


def rank_correlation(
    x: ArrayLike,
    y: ArrayLike,
    *,
    region: Region,
    label: str = "",
    level: float | None = None,
) -> Evidence:
    r"""Mean over seeds of Spearman's rho, averaged as Fisher's :math:`z = \mathrm{artanh}\,\rho`.

    Near :math:`\pm 1` rho is skewed and its spread shrinks; z is close to normal with a spread that
    does not depend on rho, so the t interval is taken there and mapped back, which also keeps it
    inside [-1, 1]. Where :math:`|\rho| = 1`, z would be infinite: it is taken at
    :math:`1 - 6/(m^3 - m)` for m points, half-way to the largest value below 1 that ranks
    without ties can reach. When all seeds have the same rho, that is the answer, exactly.

    Args, Raises: as :func:`rank_correlations`; region in units of rho.
    """
    rho = rank_correlations(x, y)
    points = curves(y, "y").shape[1]
    if rho.min() == rho.max() or not np.isfinite(rho).all():
        return mean(rho, region=region, label=label, level=level)
    limit = 1 - 6 / (points**3 - points)
    z = np.arctanh(np.clip(rho, -limit, limit))
    interval = mean_interval(z, checked_level(level), "t on Fisher z")
    effect, low, high = np.tanh(interval[:3])
    method = "BCa on Fisher z" if interval.method == "BCa" else interval.method
    interval = interval._replace(effect=effect, low=low, high=high, method=method)
    return evidence_of(interval, rho.size, region, label)


def _matched(x: ArrayLike, y: ArrayLike, least_points: int) -> tuple[FloatArray, FloatArray]:
    """Both as (seeds, points), x repeated for every seed if it is shared."""
    across, along = curves(x, "x"), curves(y, "y")
    if across.shape[1] != along.shape[1] or across.shape[0] not in (1, along.shape[0]):
        raise ValueError(f"x {across.shape} does not match y {along.shape} (seeds, points)")
    if along.shape[1] < least_points:
        raise ValueError(f"y must have at least {least_points} points, got {along.shape[1]}")
    if not np.isfinite(across).all():
        raise ValueError("x must be finite")
    if (across.min(axis=1) == across.max(axis=1)).any():
        raise ValueError(f"x must have at least two distinct values, got only {across.flat[0]!s}")
    return np.broadcast_to(across, along.shape), along
