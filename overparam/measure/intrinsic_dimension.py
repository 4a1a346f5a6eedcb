"""Intrinsic dimension: the smallest subspace in which training reaches a share of the baseline."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

TrainFunction = Callable[[int, tuple[int, ...]], Sequence[float]]


@dataclass(frozen=True)
class IntrinsicDimResult:
    """d_int with its uncertainty.

    Attributes:
        d_int: Smallest dimension tried whose mean performance over seeds reaches the threshold;
            None if none does.
        ci: Percentile bootstrap interval of ``crossing`` over seeds; an end is inf where resamples
            did not reach the threshold; None for a single seed.
        crossing: Where the mean curve, linear in log d between the dimensions tried, first reaches
            the threshold; inf if it does not. Unlike ``d_int`` it does not jump with the grid.
        lower_bound: Largest dimension tried below ``d_int`` (all of them where it is None); 0 if
            the smallest one succeeds. d_int of a finer search lies above it.
        threshold: Performance to reach.
        table: Columns dim, seed, performance.
        seed_crossings: ``crossing`` of each seed's own curve against its own threshold (the shared
            one where a single baseline was given), in the order of the seeds.
        resampled_crossings: ``crossing`` of each bootstrap resample.
    """

    d_int: int | None
    ci: tuple[float, float] | None
    crossing: float
    lower_bound: int
    threshold: float
    table: pd.DataFrame
    seed_crossings: tuple[float, ...]
    resampled_crossings: NDArray[np.float64]


def intrinsic_dimension(
    train_fn: TrainFunction,
    dims: Sequence[int],
    baseline: float | Sequence[float],
    *,
    seeds: Sequence[int],
    ratio: float = 0.9,
    search: Literal["grid", "bisect"] = "grid",
    chance: float = 0.0,
    rtol: float = 0.05,
    level: float = 0.95,
    resamples: int = 2000,
    bootstrap_seed: int = 0,
) -> IntrinsicDimResult:
    """Measure d_int, d_int90 by default (Li et al. 2018, section 2, and their plotting notebook).

    The smallest d whose performance, averaged over seeds (each with its own theta0 and P), is at
    least ``ratio`` times the mean baseline. ``search="grid"`` trains at every d of ``dims``.
    ``search="bisect"`` goes up ``dims`` to the first success and then halves the bracket between it
    and the last failure, in log d, until ``high <= (1 + rtol) low`` or they are neighbours.

    For a task with a "solved" mark give the mark as ``baseline`` and ``ratio=1`` (d_int100).

    Args:
        train_fn: ``train_fn(dim, seeds)`` trains one model per seed, all at once if it can, and
            returns their performances (higher is better).
        dims: Increasing dimensions.
        baseline: Performance of the full model: one number, or one per seed, which then is
            resampled together with the seed.
        seeds: Distinct seeds.
        ratio: Share of the baseline to reach.
        search: See above.
        chance: Performance of guessing; a baseline at or below it means nothing.
        rtol: Resolution of the bisection.
        level: Level of the interval.
        resamples: Bootstrap resamples.
        bootstrap_seed: Philox key of the bootstrap.

    Raises:
        ValueError: ``dims`` empty, not increasing or below 1; no or repeated seeds; a baseline
            that is not above ``chance`` or whose number does not match the seeds; a ratio, rtol,
            level or number of resamples out of range; ``train_fn`` returning another number of
            performances than seeds.

    Example:
        >>> result = intrinsic_dimension(
        ...     lambda d, seeds: [min(d / 100, 1.0) for _ in seeds],
        ...     [50, 80, 95, 200], baseline=1.0, seeds=[0, 1])
        >>> result.d_int, result.lower_bound
        (95, 80)
    """
    dims, seeds = list(dims), tuple(seeds)
    baselines = _check(dims, seeds, baseline, ratio, search, chance, rtol, level, resamples)
    threshold = ratio * float(baselines.mean())
    curve: dict[int, NDArray[np.float64]] = {}

    def reached(dim: int) -> bool:
        scores = np.asarray(train_fn(dim, seeds), dtype=np.float64)
        if scores.shape != (len(seeds),):
            raise ValueError(
                f"train_fn must return one performance for each of {len(seeds)} seeds, got shape "
                f"{scores.shape} at dim {dim}"
            )
        # A diverged run reached nothing; as NaN it would hide the others in the mean.
        curve[dim] = np.where(np.isnan(scores), chance, scores)
        return bool(curve[dim].mean() >= threshold)

    if search == "grid":
        for dim in dims:
            reached(dim)
    else:
        _bisect(reached, dims, rtol)

    tried = np.array(sorted(curve))
    scores = np.stack([curve[d] for d in tried], axis=1)
    successes = [int(d) for d in tried if curve[int(d)].mean() >= threshold]
    d_int = successes[0] if successes else None
    below = [int(d) for d in tried if d_int is None or d < d_int]
    resampled = _bootstrap(tried, scores, ratio * baselines, resamples, bootstrap_seed)
    return IntrinsicDimResult(
        d_int=d_int,
        ci=_interval(resampled, level) if len(seeds) > 1 else None,
        crossing=_crossing(tried, scores.mean(axis=0), threshold),
        lower_bound=max(below, default=0),
        threshold=threshold,
        table=pd.DataFrame(
            {
                "dim": np.repeat(tried, len(seeds)),
                "seed": np.tile(np.array(seeds), len(tried)),
                "performance": scores.T.reshape(-1),
            }
        ),
        seed_crossings=tuple(
            _crossing(tried, row, ratio * own) for row, own in zip(scores, baselines, strict=True)
        ),
        resampled_crossings=resampled,
    )


def intrinsic_dimension_ratio(
    numerator: IntrinsicDimResult, denominator: IntrinsicDimResult, *, level: float = 0.95
) -> tuple[float, float, float]:
    """Ratio of two intrinsic dimensions and its bootstrap interval: (ratio, low, high).

    Resamples of the two results are paired one to one; with the same number of seeds and the same
    ``bootstrap_seed`` a pair draws the same seeds, which respects runs that share them. Where the
    numerator alone did not reach its threshold the ratio is inf; where the denominator did not, 0;
    where neither did, NaN, and the interval is then (0, inf).

    Raises:
        ValueError: The results have different numbers of resamples, or ``level`` is not in (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    top, bottom = numerator.resampled_crossings, denominator.resampled_crossings
    if top.shape != bottom.shape:
        raise ValueError(
            f"the results have {len(top)} and {len(bottom)} resamples; give both as many"
        )
    with np.errstate(invalid="ignore"):
        ratios = top / bottom
        ratio = float(np.divide(numerator.crossing, denominator.crossing))
    if np.isnan(ratios).any():
        return ratio, 0.0, math.inf
    return ratio, *_interval(ratios, level)


def _bisect(reached: Callable[[int], bool], dims: Sequence[int], rtol: float) -> None:
    low = 0
    for dim in dims:
        if reached(dim):
            high = dim
            break
        low = dim
    else:
        return
    # Below the smallest dimension of the grid there is no failure to bracket with: take d = 0.
    while high - low > 1 and high > (1.0 + rtol) * low:
        middle = round(math.sqrt(max(low, 1) * high))
        middle = min(max(middle, low + 1), high - 1)
        if reached(middle):
            high = middle
        else:
            low = middle


def _crossing(dims: NDArray[np.int64], curve: NDArray[np.float64], threshold: float) -> float:
    """First d at which the curve, linear in log d, reaches the threshold; inf if none."""
    successes = np.flatnonzero(curve >= threshold)
    if not len(successes):
        return math.inf
    first = int(successes[0])
    if first == 0:
        return float(dims[0])
    x0, x1 = np.log(dims[first - 1]), np.log(dims[first])
    y0, y1 = curve[first - 1], curve[first]
    return float(np.exp(x0 + (x1 - x0) * (threshold - y0) / (y1 - y0)))


def _bootstrap(
    dims: NDArray[np.int64],
    scores: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    resamples: int,
    seed: int,
) -> NDArray[np.float64]:
    """Crossing of the mean curve for resampled seeds."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    drawn = generator.integers(len(scores), size=(resamples, len(scores)))
    curves, marks = scores[drawn].mean(axis=1), thresholds[drawn].mean(axis=1)
    return np.array([_crossing(dims, c, m) for c, m in zip(curves, marks, strict=True)])


def _interval(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Percentile interval; order statistics, because interpolating with inf gives NaN."""
    tail = 0.5 * (1.0 - level)
    low = np.quantile(values, tail, method="lower")
    high = np.quantile(values, 1.0 - tail, method="higher")
    return float(low), float(high)


def _check(
    dims: Sequence[int],
    seeds: Sequence[int],
    baseline: float | Sequence[float],
    ratio: float,
    search: str,
    chance: float,
    rtol: float,
    level: float,
    resamples: int,
) -> NDArray[np.float64]:
    """The baseline of each seed."""
    whole = all(isinstance(d, (int, np.integer)) for d in dims)
    if not whole or not dims or dims[0] < 1 or any(a >= b for a, b in pairwise(dims)):
        raise ValueError(f"dims must be increasing integers from 1 up, got {list(dims)}")
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds must be distinct and at least one, got {list(seeds)}")
    if search not in ("grid", "bisect"):
        raise ValueError(f"search must be 'grid' or 'bisect', got {search!r}")
    for name, value, low, high in (
        ("ratio", ratio, 0.0, math.inf),
        ("rtol", rtol, 0.0, math.inf),
        ("level", level, 0.0, 1.0),
    ):
        if not low < value < high:
            raise ValueError(f"{name} must lie in ({low}, {high}), got {value}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    baselines = np.asarray(baseline, dtype=np.float64)
    if baselines.ndim and baselines.shape != (len(seeds),):
        raise ValueError(
            f"baseline must be one number or {len(seeds)}, one per seed, "
            f"got shape {baselines.shape}"
        )
    if not baselines.mean() > chance or not np.isfinite(baselines).all():
        raise ValueError(
            f"baseline must be finite and above chance = {chance}, got mean {baselines.mean()}"
        )
    return np.broadcast_to(baselines, (len(seeds),))
