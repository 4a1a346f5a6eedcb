"""A posteriori audit of an adaptive spline at random points, with repair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from overparam.science.autoknots import AutoKnotsResult, resume
from overparam.science.knot_sampling import Function, from_uniform

__all__ = ["AuditRound", "KnotAudit", "audit_knots"]


@dataclass(frozen=True)
class AuditRound:
    """What one round of random test points showed.

    Attributes:
        tested, violations: bins tested, and those whose point misses the tolerance.
        rate, low, high: share of bins in violation with its 95 % Clopper-Pearson interval.
        worst_ratio: largest |f - S| / (rel (|f| + scale)); above 1 is a violation.
        worst_x: where.
    """

    tested: int
    violations: int
    rate: float
    low: float
    high: float
    worst_ratio: float
    worst_x: float


@dataclass(frozen=True)
class KnotAudit:
    """Outcome of an audit: its rounds, the (repaired) result, and whether the last round passed."""

    rounds: tuple[AuditRound, ...]
    result: AutoKnotsResult
    passed: bool


def audit_knots(
    result: AutoKnotsResult,
    f: Function,
    n_points: int = 200,
    seed: int = 0,
    *,
    repair: bool = True,
    max_rounds: int = 20,
    max_knots: int = 1_000_000,
    vectorize: bool = False,
) -> KnotAudit:
    """Test a spline at one random point in each of ``n_points`` random bins, and mend it.

    The points lie off the centre at random (uniform over the middle 80 % of the bin in T-space),
    hence see what a test at the centre is blind to: bins closed early and spoiled by later
    refits, and functions whose symmetry hides their error. With ``repair`` the points become
    knots, failing bins are re-opened and the search goes on; a new round with fresh points
    follows until one shows no violation.

    Args:
        result: from :func:`overparam.science.autoknots`; its tolerance is the one tested.
        f: the function that was interpolated.
        n_points: bins tested in a round, all of them if there are fewer.
        seed: of the random points.
        repair: False judges the spline and leaves it as it is.
        max_rounds: at most so many rounds.
        max_knots, vectorize: as for ``autoknots``.

    Raises:
        ValueError: for a result without a tolerance (a plain grid), counts below 1 or a seed
            below 0.

    Reference: limits (i) and (ii) of the method of arXiv 2412.13423.
    """
    if not np.isfinite(result.rel):
        raise ValueError("result has no tolerance to audit (rel is NaN), it comes from a grid")
    if n_points < 1 or max_rounds < 1 or seed < 0:
        raise ValueError(
            "n_points and max_rounds must be >= 1 and seed >= 0, "
            f"got {n_points}, {max_rounds} and {seed}"
        )
    rng = np.random.Generator(np.random.Philox(key=seed))
    rounds: list[AuditRound] = []
    search = resume(f, result, max_knots, vectorize)
    while True:
        spline = search.result().spline
        count = min(n_points, search.closed.size)
        bins = np.sort(rng.choice(search.closed.size, count, replace=False))
        t = search.t[bins] + rng.uniform(0.1, 0.9, count) * (search.t[bins + 1] - search.t[bins])
        x = from_uniform(t, search.space)
        y = search.sampler(x)
        allowed = search.rel * (np.abs(y) + search.scale)
        error = np.abs(y - spline(x))
        # Where nothing is allowed (f = 0 and scale = 0) an exact value is no violation.
        ratio = np.divide(error, allowed, out=np.where(error > 0, np.inf, 0.0), where=allowed > 0)
        ratio = ratio.reshape(count, -1).max(1)
        rounds.append(_summary(ratio, x))
        passed = rounds[-1].violations == 0
        if not repair:
            return KnotAudit(tuple(rounds), result, passed)
        search.insert(bins, t, x, y, ratio <= 1)
        if passed or len(rounds) == max_rounds or search.x.size >= max_knots:
            search.closed[:] = True
            return KnotAudit(tuple(rounds), search.result(), passed)
        search.run()


def _summary(ratio: np.ndarray, x: np.ndarray) -> AuditRound:
    violations = int((ratio > 1).sum())
    interval = binomtest(violations, ratio.size).proportion_ci(0.95, "exact")
    worst = int(np.argmax(ratio))
    return AuditRound(
        ratio.size,
        violations,
        violations / ratio.size,
        float(interval.low),
        float(interval.high),
        float(ratio[worst]),
        float(x[worst]),
    )
