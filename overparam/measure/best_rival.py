"""A method against the best of several others."""

from collections.abc import Sequence

import pandas as pd

from overparam.evidence import by_seed


def margin_over_best(
    runs: pd.DataFrame, score: str, method: str, rivals: Sequence[str]
) -> tuple[pd.Series, str]:
    """What a method is above the rival that is best on average, seed by seed.

    Args:
        runs: a row per method and seed.
        score: column of the outcome, the higher the better.
        method: whose margin is asked for.
        rivals: what it is compared with; one that was not run counts as 0.

    Returns:
        Differences indexed by seed, NaN where either was not run, and the rival's name.

    Raises:
        KeyError: there is no such column.
        ValueError: no rivals, or a method has several rows of a seed.

    Example:
        >>> runs = pd.DataFrame({"method": ["rps", "mag", "snip"], "seed": 0, "acc": [3.0, 1, 2]})
        >>> margin, best = margin_over_best(runs, "acc", "rps", ("mag", "snip"))
        >>> margin.tolist(), best
        ([1.0], 'snip')
    """
    if not rivals:
        raise ValueError("rivals is empty; give at least one")
    scores = {rival: by_seed(runs, score, method=rival) for rival in rivals}
    best = str(pd.DataFrame(scores).mean().fillna(0).idxmax())
    return by_seed(runs, score, method=method) - scores[best], best
