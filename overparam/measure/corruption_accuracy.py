"""Accuracy on corrupted images, kind by kind and level by level."""

from collections.abc import Mapping, Sequence

import pandas as pd
from torch import Tensor

from overparam.training import Ensemble, accuracy


def corruption_accuracy(
    ensemble: Ensemble,
    corrupted: Mapping[tuple[str, int], Tensor],
    y: Tensor,
    seeds: Sequence[int],
) -> pd.DataFrame:
    """How well the members classify images that were made harder.

    Hendrycks and Dietterich 2019 (arXiv 1903.12261), without their normalisation by a reference
    network: plain accuracies.

    Args:
        ensemble: E classifiers.
        corrupted: (kind, level) -> images (E, N, C, H, W), from
            :func:`~overparam.datasets.corrupted_members`.
        y: classes (E, N).
        seeds: of the members.

    Returns:
        Columns corruption, level, seed, test_acc.

    Raises:
        ValueError: not one seed per member, or images that don't fit the ensemble.
    """
    if len(seeds) != ensemble.size:
        raise ValueError(f"seeds has {len(seeds)} entries for {ensemble.size} members")
    rows = [
        {"corruption": kind, "level": level, "seed": seed, "test_acc": score}
        for (kind, level), images in corrupted.items()
        for seed, score in zip(seeds, accuracy(ensemble, images, y).tolist(), strict=True)
    ]
    return pd.DataFrame(rows, columns=["corruption", "level", "seed", "test_acc"])
