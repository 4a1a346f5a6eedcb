"""Evidence from two samples: differences, ratios and paired yes/no outcomes."""

import math

import numpy as np
from numpy.typing import ArrayLike

from overparam.evidence._evidence import Evidence, Region
from overparam.evidence._intervals import (
    Interval,
    difference_interval,
    mean_interval,
    proportion_interval,
)
from overparam.evidence._level import checked_level
from overparam.evidence._samples import pair, positive, sample
from overparam.evidence._summaries import evidence_of


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    *,
    region: Region,
    label: str = "",
    level: float | None = None,
) -> Evidence:
    """Mean of ``a - b`` over seeds, with the t interval of the differences (BCa from n = 30 on).

    Args:
        a, b: one value per seed, (n,); two pandas Series are matched by index, anything else by
            position.
        region: where the mean difference must lie for the claim to hold.
        level: confidence level, the current one by default.

    Raises:
        ValueError: different lengths or index sets, a seed that occurs twice. (A sample without any
            value was not measured, and leaves the effect undefined.)

    >>> evidence = paired_difference([3.0, 4.0, 5.5], [1.0, 2.0, 3.0], region=(1, None))
    >>> round(evidence.effect, 4), evidence.method
    (2.1667, 'paired t')
    """
    first, second = pair(a, b)
    # inf - inf is a value that is not finite, and is counted as one below.
    with np.errstate(invalid="ignore", over="ignore"):
        differences = first - second
    interval = mean_interval(differences, checked_level(level), "paired t")
    return evidence_of(interval, first.size, region, label)


def difference(
    a: ArrayLike,
    b: ArrayLike,
    *,
    region: Region,
    label: str = "",
    level: float | None = None,
) -> Evidence:
    """``mean(a) - mean(b)`` of independent samples, with Welch's t interval (BCa from n = 30 on).

    ``n`` is the size of the smaller sample. Samples that share seeds belong in
    :func:`paired_difference`, which is the sharper of the two.

    Raises:
        ValueError: a sample that is not one-dimensional or not numeric.
    """
    first, second = sample(a, "a"), sample(b, "b")
    interval = difference_interval(first, second, checked_level(level))
    return evidence_of(interval, min(first.size, second.size), region, label)


def ratio(
    a: ArrayLike,
    b: ArrayLike,
    *,
    region: Region,
    paired: bool = True,
    label: str = "",
    level: float | None = None,
) -> Evidence:
    """Ratio of geometric means ``a / b``: a difference of logarithms, raised back to a ratio.

    Args:
        a, b: positive values, one per seed; matched as in :func:`paired_difference` when
            ``paired``, independent samples otherwise.
        region: in units of the ratio, positive.

    Raises:
        ValueError: a value that is not positive, or what the differences refuse.

    >>> evidence = ratio([2.0, 4.0, 8.0], [1.0, 2.0, 4.0], region=(1.5, None))
    >>> round(evidence.effect, 12), evidence.scale
    (2.0, 'log')
    """
    first, second = pair(a, b) if paired else (sample(a, "a"), sample(b, "b"))
    log_a, log_b = np.log(positive(first, "a")), np.log(positive(second, "b"))
    if paired:
        with np.errstate(invalid="ignore"):
            logs = log_a - log_b
        interval = mean_interval(logs, checked_level(level), "paired t")
    else:
        interval = difference_interval(log_a, log_b, checked_level(level))
    return evidence_of(interval, min(first.size, second.size), region, label, "log")


def discordant(
    a: ArrayLike,
    b: ArrayLike,
    *,
    region: Region,
    label: str = "",
    level: float | None = None,
) -> Evidence:
    """Among pairs whose yes/no outcomes differ, the share in which only ``b`` is true.

    The exact form of McNemar's test: with ``region=(None, .5)`` or ``(.5, None)`` the claim is
    reproduced at level .95 precisely when ``b`` is the rarer (or commoner) outcome and the exact
    two-sided p is below .05. Clopper-Pearson on the discordant pairs; ``n`` counts all pairs.

    Without a discordant pair the share is undefined (neither reproduced nor contradicted); the
    note gives their number.

    Args:
        a, b: 0/1 or booleans, paired as in :func:`paired_difference`.

    Raises:
        ValueError: a value other than 0 and 1, or what pairing refuses.

    >>> str(discordant([1, 1, 1, 1, 0], [0, 0, 0, 0, 0], region=(None, 0.5)))
    '0 [0, 0.6024]'
    """
    first, second = pair(a, b)
    for name, values in (("a", first), ("b", second)):
        odd = values[~np.isin(values, (0.0, 1.0))]
        if odd.size:
            raise ValueError(f"{name} must hold only 0 and 1, got {odd[0]!s}")
    differing = int(np.count_nonzero(first != second))
    note = f"{differing} of {first.size} pairs discordant"
    if differing == 0:
        interval = Interval(math.nan, 0.0, 1.0, "Clopper-Pearson", missing=not first.size)
    else:
        only_b = int(np.count_nonzero(second > first))
        interval = proportion_interval(only_b, differing, checked_level(level))
    return evidence_of(interval._replace(note=note), first.size, region, label)
