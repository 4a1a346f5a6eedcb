"""Evidence from one sample: a mean, a proportion, or a finding that involves no chance."""

import math

from numpy.typing import ArrayLike

from overparam.evidence._evidence import Evidence, Region, Scale, checked_region
from overparam.evidence._intervals import (
    Interval,
    mean_interval,
    proportion_interval,
    undefined_interval,
)
from overparam.evidence._level import checked_level
from overparam.evidence._samples import sample


def evidence_of(
    interval: Interval,
    n: int | None,
    region: Region,
    label: str,
    scale: Scale = "linear",
) -> Evidence:
    """The interval with its region; on the log scale it comes in logarithms and is raised here.

    ``n = 0`` (nothing was measured) becomes ``None``.
    """
    effect, low, high, method, note, missing = interval
    if scale == "log":
        effect, low, high = _exp(effect), _exp(low), _exp(high)
        if not 0 < effect < math.inf:
            effect, note = math.nan, note or "ratio beyond what a float can hold"
    return Evidence(effect, low, high, n or None, region, label, scale, method, note, missing)


def mean(x: ArrayLike, *, region: Region, label: str = "", level: float | None = None) -> Evidence:
    """Mean over seeds with its t interval, BCa bootstrap from n = 30 on.

    Args:
        x: one value per seed, (n,); without any the mean is undefined.
        region: where the mean must lie for the claim to hold.
        level: confidence level, the current one by default.

    Raises:
        ValueError: ``x`` is not one-dimensional or not numeric.

    >>> evidence = mean([0.9, 1.0, 1.1], region=(0.5, None))
    >>> evidence.n, evidence.inside
    (3, True)
    """
    values = sample(x, "x")
    return evidence_of(mean_interval(values, checked_level(level)), values.size, region, label)


def proportion(
    successes: int,
    trials: int,
    *,
    region: Region,
    label: str = "",
    level: float | None = None,
) -> Evidence:
    """Share of successes in independent trials, with its Clopper-Pearson interval.

    Trials must be independent: draws or seeds, not the test examples of one trained model pooled
    over seeds (there, take the mean of the per-seed shares). Without a trial it is undefined.

    Raises:
        ValueError: a count that is not whole or negative, or more successes than trials.
    """
    counts = []
    for name, count in (("successes", successes), ("trials", trials)):
        if not math.isfinite(count) or int(count) != count:
            raise ValueError(f"{name} must be a whole number, got {count!r}")
        counts.append(int(count))
    if counts[1] < 0:
        raise ValueError(f"trials must be at least 0, got {trials!r}")
    if not 0 <= counts[0] <= counts[1]:
        raise ValueError(f"successes must lie in 0..{counts[1]}, got {successes!r}")
    interval = proportion_interval(counts[0], counts[1], checked_level(level))
    return evidence_of(interval, counts[1], region, label)


def exact(value: float, *, region: Region, label: str = "") -> Evidence:
    """A deterministic finding: no chance, no interval, ``n = None``.

    A value that is not finite is no finding: it neither supports nor contradicts.

    >>> exact(1.0, region=(None, 1.0)).inside
    True
    """
    return worst([value], region=region, label=label)


def worst(x: ArrayLike, *, region: Region, label: str = "") -> Evidence:
    """The one of ``x`` (n,) that lies farthest out of the region, or nearest to leaving it.

    For "every case meets the bound": the maximum against an upper bound, the minimum against a
    lower one. A deterministic finding; values that are not finite leave it undefined, and so does
    there being none.

    Raises:
        ValueError: ``x`` is not one-dimensional or not numeric.
    """
    values = sample(x, "x")
    lo, hi = checked_region(region)
    if (undefined := undefined_interval(values, "exact")) is not None:
        return evidence_of(undefined, None, region, label)

    def beyond(value: float) -> float:
        below = -math.inf if lo is None else lo - value
        above = -math.inf if hi is None else value - hi
        return max(below, above)

    value = max((float(value) for value in values), key=beyond)
    return Evidence(value, value, value, None, region, label, method="exact")


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
