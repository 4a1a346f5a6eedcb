"""The order in which each member of an ensemble sees the samples."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.random import Generator, Philox
from torch import Tensor


def batch_orders(n: int, epochs: int, seeds: Sequence[int]) -> Tensor:
    """Independent permutations of 0..n-1, one per member and epoch.

    A member's orders depend on its own seed alone, and its first epochs do not depend on how many
    follow. The stream is NumPy's Philox, the same on every platform.

    Args:
        n: number of samples.
        epochs: number of epochs.
        seeds: one non-negative integer per member.

    Returns:
        LongTensor (E, epochs, n).

    Raises:
        ValueError: n or epochs below 1, no seeds, or a negative seed.
    """
    if n < 1 or epochs < 1:
        raise ValueError(f"n={n}, epochs={epochs}; both must be at least 1")
    if not len(seeds) or min(seeds) < 0:
        raise ValueError(f"seeds={tuple(seeds)}; allowed: at least one, each >= 0")
    rows = np.broadcast_to(np.arange(n), (epochs, n))
    return torch.from_numpy(
        np.stack([Generator(Philox(key=seed)).permuted(rows, axis=1) for seed in seeds])
    )
