"""Seeded splits of a data set."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import ArrayLike, NDArray


def permutation(n: int, seed: int) -> NDArray[np.int64]:
    """A seeded permutation of 0..n-1 (NumPy's Philox, the same on every platform).

    Raises:
        ValueError: n or seed is negative.
    """
    if n < 0 or seed < 0:
        raise ValueError(f"n={n}, seed={seed}; allowed >= 0")
    return Generator(Philox(key=seed)).permutation(n)


def stratified_split(
    y: ArrayLike, sizes: Sequence[int], seed: int
) -> tuple[NDArray[np.int64], ...]:
    """Disjoint random index sets of exactly the given sizes, each with the class shares of y.

    One part after the other takes from what is left, class by class in proportion, rounded by
    largest remainders (ties at random): each class count is within 1 of its share of what was left.

    Args:
        y: labels (N,).
        sizes: size of each part; the last may be -1 for all the rest. Samples beyond the sum are
            left out.
        seed: non-negative integer.

    Returns:
        One shuffled index array per part.

    Raises:
        ValueError: y is not one-dimensional, a size is out of range, or the sizes exceed N.

    Example:
        >>> train, test = stratified_split([0, 0, 1, 1, 1, 1], (3, -1), seed=0)
        >>> len(train), len(test)
        (3, 3)
    """
    return tuple(part.astype(np.int64) for part in stratified_parts(y, sizes, seed))


def stratified_parts(
    y: ArrayLike, sizes: Sequence[int], seed: int
) -> Iterator[NDArray[np.integer]]:
    """The parts of :func:`stratified_split` one by one, in the smallest type that holds N.

    Raises:
        ValueError: as there, when the first part is asked for.
    """
    labels = np.asarray(y)
    if labels.ndim != 1:
        raise ValueError(f"y has shape {labels.shape}; expected (N,)")
    if seed < 0:
        raise ValueError(f"seed={seed}; allowed >= 0")
    parts = list(sizes)
    if parts and parts[-1] == -1:
        parts[-1] = len(labels) - sum(parts[:-1])
    if not parts or min(parts) < 1 or sum(parts) > len(labels):
        raise ValueError(
            f"sizes={tuple(sizes)} for {len(labels)} samples; allowed: numbers >= 1 (the last "
            "may be -1, the rest) that add up to at most the number of samples"
        )
    rng = Generator(Philox(key=seed))
    kind = np.int32 if len(labels) <= np.iinfo(np.int32).max else np.int64
    queues = [
        rng.permutation(np.flatnonzero(labels == label).astype(kind)) for label in np.unique(labels)
    ]
    for size in parts:
        counts = _apportion(np.array([len(queue) for queue in queues]), size, rng)
        part = np.concatenate([queue[:c] for queue, c in zip(queues, counts, strict=True)])
        queues = [queue[c:] for queue, c in zip(queues, counts, strict=True)]
        yield rng.permutation(part)


def _apportion(available: NDArray[np.int64], size: int, rng: Generator) -> NDArray[np.int64]:
    """Whole numbers proportional to ``available`` that add up to ``size`` (largest remainders)."""
    counts, remainders = np.divmod(available * size, available.sum())
    order = np.lexsort((rng.random(len(available)), -remainders))
    counts[order[: size - counts.sum()]] += 1
    return counts
