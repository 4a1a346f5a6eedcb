"""Corrupted labels: noise and permutation."""

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import ArrayLike, NDArray


def uniform_label_noise(
    y: ArrayLike, rate: float, n_classes: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Give a random share of the samples a wrong label, uniform over the other classes.

    Args:
        y: labels (N,) in 0..n_classes-1.
        rate: share of wrong labels; exactly round(rate * N) samples change.
        n_classes: number of classes, at least 2.
        seed: non-negative integer.

    Returns:
        The labels (N,) and a mask (N,) of the changed ones.

    Raises:
        ValueError: rate outside [0, 1], fewer than 2 classes, a label or the seed out of range.
    """
    labels = _labels(y, seed)
    if not 0 <= rate <= 1:
        raise ValueError(f"rate={rate}; allowed 0 <= rate <= 1")
    if n_classes < 2:
        raise ValueError(f"n_classes={n_classes}; allowed >= 2")
    if len(labels) and (labels.min() < 0 or labels.max() >= n_classes):
        raise ValueError(
            f"y holds labels {labels.min()}..{labels.max()}; allowed 0..{n_classes - 1}"
        )
    rng = Generator(Philox(key=seed))
    flipped = np.zeros(len(labels), dtype=bool)
    flipped[rng.permutation(len(labels))[: round(rate * len(labels))]] = True
    # Adding 1..C-1 modulo C reaches each of the other classes equally often.
    offsets = rng.integers(1, n_classes, size=len(labels))
    return np.where(flipped, (labels + offsets) % n_classes, labels), flipped


def permuted_labels(y: ArrayLike, seed: int) -> NDArray[np.int64]:
    """The same labels in random order: class counts stay, the link to the inputs is gone.

    Raises:
        ValueError: y is not a vector of whole numbers, or the seed is negative.
    """
    labels = _labels(y, seed)
    return Generator(Philox(key=seed)).permutation(labels)


def _labels(y: ArrayLike, seed: int) -> NDArray[np.int64]:
    labels = np.asarray(y)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"y is {labels.dtype} of shape {labels.shape}; expected integers (N,)")
    if seed < 0:
        raise ValueError(f"seed={seed}; allowed >= 0")
    return labels.astype(np.int64)
