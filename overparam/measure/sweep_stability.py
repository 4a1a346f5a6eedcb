"""How much the outcome of a training depends on a knob that should not matter."""

import pandas as pd


def sweep_stability(runs: pd.DataFrame, knob: str, score: str, *, tolerance: float) -> pd.DataFrame:
    """Failures and spread over a sweep, for each method and seed.

    A value of the knob fails where the score ends more than ``tolerance`` below the best that the
    same method and seed reach at any value. Scores of several runs at one value (tasks) are
    averaged.

    Args:
        runs: a row per method, seed and value of the knob; a run that diverged has a low score, no
            NaN.
        knob: column of the values swept.
        score: column of the outcome, the higher the better.
        tolerance: >= 0, in units of the score.

    Returns:
        Columns method, seed, failed (share of the values), spread (best less worst score).

    Raises:
        KeyError: there is no such column.
        ValueError: a negative tolerance.

    Example:
        >>> runs = pd.DataFrame({"method": "roast", "seed": 0, "s": [0.1, 1.0], "acc": [0.5, 0.75]})
        >>> sweep_stability(runs, "s", "acc", tolerance=0.1).values.tolist()
        [['roast', 0, 0.5, 0.25]]
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}; allowed >= 0")
    table = runs.pivot_table(index=["method", "seed"], columns=knob, values=score)
    best = table.max(axis=1)
    failed = table.lt(best - tolerance, axis=0).mean(axis=1)
    found = pd.DataFrame({"failed": failed, "spread": best - table.min(axis=1)})
    return found.reset_index()
