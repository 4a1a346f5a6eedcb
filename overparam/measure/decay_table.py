"""The laws of many recorded descents: one row per run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from overparam.measure.decay import TooFewPointsError, fit_decay, steps_until

__all__ = ["decay_table"]

FITTED = ("powerlaw_slope", "powerlaw_r2", "exp_rate", "exp_r2", "law")


def decay_table(
    traces: pd.DataFrame,
    by: Sequence[str],
    value: str,
    *,
    level: float,
    floor: float = 1e-24,
    tail: float = 0.25,
) -> pd.DataFrame:
    """Which law each run follows since its last change, and when it reaches a level.

    Args:
        traces: rows of recorded steps, in order: the columns ``by`` that tell runs apart, ``step``,
            ``value``, and ``switched_at``: the step at which the algorithm was changed, before
            which nothing counts; -1 for never.
        value: the column of a decaying, non-negative quantity, a squared error say.
        level: > 0; the level to be reached.
        floor, tail: as for :func:`~overparam.measure.fit_decay`.

    Returns:
        Indexed by ``by``, in order of appearance: powerlaw_slope, powerlaw_r2, exp_rate, exp_r2
        and law of ``fit_decay`` (NaN and "unknown" for a run that ends, or was switched, too early
        to tell), and steps_to_arrive, counted from the change, of
        :func:`~overparam.measure.steps_until`.

    Raises:
        ValueError: what these two refuse.

    Example:
        >>> t = np.arange(1, 200)
        >>> traces = pd.DataFrame({"run": "a", "step": t, "err": np.exp(-t / 5), "switched_at": -1})
        >>> decay_table(traces, ["run"], "err", level=1e-3)["steps_to_arrive"].round(1).tolist()
        [34.5]
    """
    rows = []
    for run, trace in traces.groupby(list(by), sort=False):
        switch = trace["switched_at"].iloc[0]
        counted = trace[trace["step"] >= switch]
        since = (counted["step"] - max(switch, 0)).to_numpy()
        values = counted[value].to_numpy()
        law = _fitted(since, values, floor, tail)
        arrived = steps_until(since, values, level, law["exp_rate"])
        named = dict(zip(by, run, strict=True))
        rows.append({**named, **law, "steps_to_arrive": arrived})
    return pd.DataFrame(rows).set_index(list(by))


def _fitted(
    step: NDArray[np.float64], value: NDArray[np.float64], floor: float, tail: float
) -> dict[str, Any]:
    try:
        fitted = fit_decay(step, value, floor, tail)
    except TooFewPointsError:
        return dict.fromkeys(FITTED, np.nan) | {"law": "unknown"}
    return {name: getattr(fitted, name) for name in FITTED}
