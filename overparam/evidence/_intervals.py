"""Confidence intervals of a mean, of a difference of means, and of a proportion."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtrit

FloatArray = NDArray[np.float64]

# Fewer values are too few to resample; with more the two intervals agree and the bootstrap's
# n x n jackknife only costs time.
BCA_SIZES = range(30, 5_001)
NOTHING = "nothing was measured"
_RESAMPLES = (9_999, 999_999)
_BATCH_ELEMENTS = 2_000_000


class Interval(NamedTuple):
    """Point estimate with the ends of its interval, and how it was obtained."""

    effect: float
    low: float
    high: float
    method: str
    note: str = ""
    missing: bool = False


def mean_interval(x: FloatArray, level: float, method: str = "t") -> Interval:
    r"""Interval of the mean of independent values ``x`` (n,).

    :math:`\bar x \pm t_{n-1,(1+level)/2}\, s / \sqrt n`, called ``method``, below n = 30 and above
    5,000; BCa bootstrap (Efron 1987; Efron and Tibshirani 1993, section 14.3) in between.

    n = 1 gives an unbounded interval; equal values give ``low == high == effect``; a value that is
    not finite leaves the mean undefined, see :func:`undefined_interval`.
    """
    if (undefined := undefined_interval(x, method)) is not None:
        return undefined
    start, spread = _span(x)
    if x.size == 1:
        return Interval(start, -math.inf, math.inf, method)
    if spread == 0:
        return Interval(start, start, start, method, "zero variance")
    # Everything happens on values in [0, 1]: squares neither overflow nor vanish.
    unit = (x - start) / spread
    effect = float(unit.mean())
    if x.size in BCA_SIZES:
        method = "BCa"
        low, high = _bca((unit,), level)
    else:
        error = float(unit.std(ddof=1)) / math.sqrt(x.size)
        half = float(stdtrit(x.size - 1, (1 + level) / 2)) * error
        low, high = effect - half, effect + half
    return _placed(start, spread, effect, low, high, method)


def difference_interval(a: FloatArray, b: FloatArray, level: float) -> Interval:
    r"""Interval of ``mean(a) - mean(b)`` for independent samples (n_a,) and (n_b,).

    Welch's t: standard error :math:`\sqrt{v_a + v_b}`, :math:`v = s^2 / n`, degrees of freedom
    :math:`(v_a + v_b)^2 / (v_a^2/(n_a-1) + v_b^2/(n_b-1))`; BCa bootstrap where both samples have
    30 to 5,000 values. Degenerate data as in :func:`mean_interval`.
    """
    method = "Welch t"
    both = np.concatenate([a, b]) if a.size and b.size else np.empty(0)
    if (undefined := undefined_interval(both, method)) is not None:
        return undefined
    start, spread = _span(both)
    if spread == 0:
        wide = math.inf if min(a.size, b.size) == 1 else 0.0
        return Interval(0.0, -wide, wide, method, "" if wide else "zero variance")
    unit_a, unit_b = (a - start) / spread, (b - start) / spread
    effect = float(unit_a.mean() - unit_b.mean())
    if min(a.size, b.size) == 1:
        return _placed(0.0, spread, effect, -math.inf, math.inf, method)
    if a.min() == a.max() and b.min() == b.max():
        exact = float(a[0] - b[0])
        return Interval(exact, exact, exact, method, "zero variance")
    if a.size in BCA_SIZES and b.size in BCA_SIZES:
        method = "BCa"
        low, high = _bca((unit_a, unit_b), level)
    else:
        var_a, var_b = (float(u.var(ddof=1)) / u.size for u in (unit_a, unit_b))
        # Shares of the variance instead of its square: nothing vanishes for nearly equal values.
        share = var_a / (var_a + var_b)
        freedom = 1 / (share**2 / (a.size - 1) + (1 - share) ** 2 / (b.size - 1))
        half = float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(var_a + var_b)
        low, high = effect - half, effect + half
    return _placed(0.0, spread, effect, low, high, method)


def proportion_interval(successes: int, trials: int, level: float) -> Interval:
    r"""Clopper-Pearson interval of a binomial probability (Biometrika 26, 1934).

    Quantiles :math:`(1 \mp level)/2` of Beta(k, n-k+1) and Beta(k+1, n-k); its coverage is at
    least ``level`` whatever the probability. Without a trial the probability is undefined.
    """
    if not trials:
        return Interval(math.nan, 0.0, 1.0, "Clopper-Pearson", NOTHING, True)
    tail = (1 - level) / 2
    k, n = successes, trials
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - tail))
    return Interval(k / n, low, high, "Clopper-Pearson")


def undefined_interval(x: FloatArray, method: str) -> Interval | None:
    """The answer for values that define no mean; ``None`` when they do define one.

    They do not when one of them is not finite, or when they span more than a float can hold. Where
    there are none, or all of them are NaN, nothing was measured at all: the interval is marked as
    missing.
    """
    if not x.size:
        return Interval(math.nan, -math.inf, math.inf, method, NOTHING, True)
    bad = int(np.count_nonzero(~np.isfinite(x)))
    if bad:
        note = f"{bad} of {x.size} values not finite"
    elif math.isinf(float(x.max()) - float(x.min())):
        note = "values span more than a float can hold"
    else:
        return None
    missing = bool(np.isnan(x).all())
    return Interval(math.nan, -math.inf, math.inf, method, note, missing)


def _span(x: FloatArray) -> tuple[float, float]:
    """Smallest value and distance to the largest."""
    return float(x.min()), float(x.max()) - float(x.min())


def _placed(
    start: float, spread: float, effect: float, low: float, high: float, method: str
) -> Interval:
    """Back from [0, 1] to the data's units; the interval is widened to its effect if need be."""
    effect, low, high = (start + spread * value for value in (effect, low, high))
    # A bootstrap interval of very skewed data may miss the estimate it belongs to.
    return Interval(effect, min(low, effect), max(high, effect), method)


def _mean(x: FloatArray, axis: int = -1) -> Any:
    return x.mean(axis=axis)


def _mean_difference(a: FloatArray, b: FloatArray, axis: int = -1) -> Any:
    return a.mean(axis=axis) - b.mean(axis=axis)


def _bca(samples: tuple[FloatArray, ...], level: float) -> tuple[float, float]:
    """BCa interval of the mean, or of the difference of two; the same data give the same ends."""
    from scipy.stats import bootstrap  # half a second that only this path has to pay

    result = bootstrap(
        samples,
        _mean if len(samples) == 1 else _mean_difference,
        # A high level asks for more: about fifty resamples should lie beyond each end.
        n_resamples=int(np.clip(math.ceil(100 / (1 - level)), *_RESAMPLES)),
        batch=max(1, _BATCH_ELEMENTS // max(map(len, samples))),
        vectorized=True,
        axis=-1,
        confidence_level=level,
        method="BCa",
        rng=np.random.Generator(np.random.Philox(key=0)),
    )
    low, high = result.confidence_interval
    return float(low), float(high)
