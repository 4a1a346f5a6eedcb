"""Which samples train, which are held out, and which test."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from overparam.datasets.splits import permutation, stratified_parts

TRAIN, VALIDATION, TEST = 0, 1, 2
TEST_SHARE = 0.2
FEWEST = 3
PIECE = 1 << 16


def part_codes(
    y: NDArray[np.generic], *, validation: float, seed: int, test: bool, stratify: bool
) -> NDArray[np.int8]:
    """The part of each sample: 0 train, 1 validation, 2 test.

    Args:
        y: labels (N,).
        validation: share of what is not test.
        seed: of the split.
        test: whether a fifth is set aside for testing (there is no test set of the user's).
        stratify: whether the parts keep the shares of the classes.

    Raises:
        ValueError: too few samples for three parts.
    """
    n = len(y)
    tested = round(TEST_SHARE * n) if test else 0
    held_out = round(validation * (n - tested))
    wanted = (tested, held_out, n - tested - held_out)
    if min(wanted[1:]) < 1 or (test and tested < 1):
        raise ValueError(
            f"{n} samples are too few for training, validation"
            f"{' and test' if test else ''}; allowed: at least 10"
        )
    codes = np.full(n, TRAIN, dtype=np.int8)
    sizes = wanted if test else wanted[1:]
    parts: Iterable[NDArray[np.integer]]
    if stratify:
        parts = stratified_parts(y, sizes, seed)
    else:
        parts = np.split(permutation(n, seed), np.cumsum(sizes)[:-1])
    names = (TEST, VALIDATION, TRAIN) if test else (VALIDATION, TRAIN)
    for code, rows in zip(names, parts, strict=True):
        codes[rows] = code
    return codes


def counts_of(codes: NDArray[np.integer], n: int) -> NDArray[np.int64]:
    """How often each of the codes 0..n-1 occurs; as ``np.bincount``, without a copy in 64 bits.

    Example:
        >>> counts_of(np.array([2, 0, 2], dtype=np.int8), 4).tolist()
        [1, 0, 2, 0]
    """
    counts = np.zeros(n, dtype=np.int64)
    for start in range(0, len(codes), PIECE):
        counts += np.bincount(codes[start : start + PIECE], minlength=n)
    return counts


def check_classes(names: Sequence[str], counts: Sequence[int], what: str) -> None:
    """Refuse one class, and classes so rare that a split could leave none to learn from.

    Raises:
        ValueError: as said; the classes are named.
    """
    if len(names) < 2:
        raise ValueError(f"{what} holds one class, {names[0]!r}; allowed: at least two")
    rare = [f"{n!r} ({c})" for n, c in zip(names, counts, strict=True) if c < FEWEST]
    if rare:
        raise ValueError(
            f"{what}: too few samples of {', '.join(rare[:5])}; allowed: at least {FEWEST} of each "
            "class, so that parts held out leave some to learn from"
        )
