"""Intrinsic dimension from a table of trainings, which a bisection may extend."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from overparam.measure.intrinsic_dimension import IntrinsicDimResult, intrinsic_dimension
from overparam.measure.learning_rate_choice import LearningRateChoice

TrainRuns = Callable[[int, int, float], pd.DataFrame]


def intrinsic_dimension_of_runs(
    runs: pd.DataFrame,
    performance: str,
    baseline: float | pd.Series,
    *,
    train: TrainRuns | None = None,
    more_dims: Sequence[int] = (),
    ratio: float = 0.9,
    chance: float = 0.0,
    rtol: float = 0.05,
    selection: str = "train_acc",
) -> tuple[IntrinsicDimResult, pd.DataFrame]:
    """d_int of a grid of trainings; with ``train``, refined between last failure and first success.

    At each d the learning rate counts whose ``selection`` is best on average over seeds, see
    :class:`~overparam.measure.LearningRateChoice`.

    Args:
        runs: a row per dim, lr and seed, every combination once; columns ``performance``,
            ``selection``.
        performance: the column that is to reach the threshold.
        baseline: one number, or a Series of one per seed, indexed by it.
        train: ``train(seed, dim, lr)`` gives the one row of a training that is not in the table;
            the search is then a bisection to ``rtol``.
        more_dims: tried after the table's, while none before them suffices (needs ``train``).
        ratio: share of the baseline to reach.
        chance: performance of guessing.
        rtol: resolution of the bisection.
        selection: see above.

    Returns:
        The result, and the table with all that was trained.

    Raises:
        ValueError: no rows; ``more_dims`` without ``train``; what
            :func:`~overparam.measure.intrinsic_dimension` refuses.
        KeyError: a combination, column or seed is missing.

    Example:
        >>> runs = pd.DataFrame({"dim": [5, 20], "lr": 0.1, "seed": 0, "train_acc": [0.2, 0.9],
        ...                      "test_acc": [0.1, 0.8]})
        >>> intrinsic_dimension_of_runs(runs, "test_acc", 0.85)[0].d_int
        20
    """
    if more_dims and train is None:
        raise ValueError(f"more_dims={tuple(more_dims)} needs train, to try them")
    if runs.empty:
        raise ValueError("runs is empty: no training to measure a dimension of")
    seeds = tuple(int(seed) for seed in sorted(runs["seed"].unique()))
    grid = [int(dim) for dim in sorted(runs["dim"].unique())]
    tables = [runs]

    def scores(dim: int, seeds: tuple[int, ...], rate: float) -> tuple[pd.Series, pd.Series]:
        if dim in grid:
            found = runs[(runs["dim"] == dim) & (runs["lr"] == rate)]
        else:
            assert train is not None
            found = pd.concat([train(seed, dim, rate).assign(seed=seed) for seed in seeds])
            tables.append(found)
        rows = found.set_index("seed").loc[list(seeds)]
        return rows[selection], rows[performance]

    result = intrinsic_dimension(
        LearningRateChoice(scores, [float(rate) for rate in runs["lr"].unique()]),  # type: ignore[arg-type]
        [*grid, *more_dims],
        baseline.loc[list(seeds)] if isinstance(baseline, pd.Series) else baseline,  # type: ignore[arg-type]
        seeds=seeds,
        ratio=ratio,
        search="grid" if train is None else "bisect",
        chance=chance,
        rtol=rtol,
    )
    return result, pd.concat(tables, ignore_index=True)


def dimension_summary(result: IntrinsicDimResult) -> dict[str, float]:
    """One row of a table: d_int (NaN if not reached), crossing, ci_low, ci_high, lower_bound."""
    low, high = result.ci or (np.nan, np.nan)
    return {
        "d_int": np.nan if result.d_int is None else float(result.d_int),
        "crossing": result.crossing,
        "ci_low": low,
        "ci_high": high,
        "lower_bound": float(result.lower_bound),
    }


def dimension_by_seed(result: IntrinsicDimResult) -> pd.DataFrame:
    """A row per seed: its crossing as ``d_int``, NaN if not reached, and as ``at_least``.

    ``at_least`` is then the largest dimension tried, a lower bound of the crossing.
    """
    crossings = np.array(result.seed_crossings)
    reached = np.isfinite(crossings)
    return pd.DataFrame(
        {
            "seed": result.table["seed"].unique(),
            "d_int": np.where(reached, crossings, np.nan),
            "at_least": np.where(reached, crossings, result.table["dim"].max()),
        }
    )
