"""How far learned scales and shifts lie from 1 and 0."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import nn

from overparam.adapt.scale_shift import pairs

RANGES = {"scale": (0.0, 2.0), "shift": (-1.0, 1.0)}
"""Around the values that change nothing."""

BINS = 40


def pair_histogram(model: nn.Module) -> pd.DataFrame:
    """Counts of the scales and shifts of all pairs of a model, in bins of 0.05.

    Args:
        model: with pairs of SSF (Lian et al. 2022).

    Returns:
        Columns kind (scale or shift, as far as pairs have them), bin (its lower edge) and count;
        what lies beyond ``RANGES`` counts in the first or last bin.

    Raises:
        ValueError: the model has no pairs.

    Example:
        >>> from overparam.adapt import inject_ssf
        >>> net = inject_ssf(nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2)), init="identity")
        >>> table = pair_histogram(net)
        >>> table[table["count"] > 0].to_numpy().tolist()
        [['scale', 1.0, 5], ['shift', 0.0, 5]]
    """
    if not (found := pairs(model)):
        raise ValueError(f"{type(model).__name__} has no pairs; inject_ssf it first")
    tables = []
    for kind, (low, high) in RANGES.items():
        learned = [values for pair in found.values() if (values := getattr(pair, kind)) is not None]
        if not learned:
            continue
        edges = np.linspace(low, high, BINS + 1)
        values = torch.cat([value.detach() for value in learned]).clamp(low, high)
        counts, _ = np.histogram(values.numpy(), edges)
        tables.append(pd.DataFrame({"kind": kind, "bin": edges[:-1], "count": counts}))
    return pd.concat(tables, ignore_index=True)
