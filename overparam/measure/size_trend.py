"""How a number that was measured on models of several sizes goes with their size."""

import numpy as np
import pandas as pd

from overparam.evidence import loglog_slopes


def size_trend(sizes: pd.Series, found: pd.DataFrame, *, least_span: float = 20) -> pd.DataFrame:
    """Spread over the models, and the exponent of the size, seed by seed.

    Args:
        sizes: size of each model (parameters, positive); a NaN says that it was not run.
        found: the number, positive, a row per seed and a column per model; NaN where it is not
            known.
        least_span: largest over smallest size from which on an exponent is worth something.

    Returns:
        A row per seed: largest, smallest (NaN where that of one model is not known) and slope, of
        log number on log size (also NaN where the models do not span enough).

    Raises:
        KeyError: a model with a size has no column.
        ValueError: a size or number that is not positive.

    Example:
        >>> found = pd.DataFrame({"small": [50.0, 60.0], "large": [100.0, 600.0]})
        >>> size_trend(pd.Series({"small": 1e3, "large": 1e5}), found)["slope"].round(3).tolist()
        [0.151, 0.5]
    """
    sizes = sizes.dropna()
    own = found[sizes.index]
    wide = len(sizes) > 0 and sizes.max() >= least_span * sizes.min()
    return pd.DataFrame(
        {
            "largest": own.max(axis=1, skipna=False),
            "smallest": own.min(axis=1, skipna=False),
            "slope": loglog_slopes(sizes, own) if wide else np.full(len(own), np.nan),
        }
    )
