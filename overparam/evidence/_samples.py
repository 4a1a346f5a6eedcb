"""Per-seed values as arrays: what callers may pass in, and how two of them are paired."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from overparam.evidence._intervals import FloatArray


def sample(values: ArrayLike, name: str) -> FloatArray:
    """``values`` as float64 (n,); ValueError that names the argument otherwise."""
    array = _floats(values, name)
    if array.ndim != 1:
        raise ValueError(f"{name} must hold one value per seed, got shape {array.shape}")
    return array


def curves(values: ArrayLike, name: str) -> FloatArray:
    """``values`` as float64 (seeds, points); a single curve (points,) counts as one seed."""
    array = _floats(values, name)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"{name} must have shape (seeds, points), got {array.shape}")
    return np.atleast_2d(array)


def pair(a: ArrayLike, b: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Two samples whose i-th values belong together.

    Two pandas Series are matched by their index (the seeds), which must hold the same labels once
    each; anything else is matched by position. A sample that is empty was not measured, and leaves
    no pairs.
    """
    if 0 in (np.size(a), np.size(b)):
        return np.empty(0), np.empty(0)
    if _is_series(a) and _is_series(b):
        b = _aligned(a, b)
    first, second = sample(a, "a"), sample(b, "b")
    if first.size != second.size:
        raise ValueError(
            f"a and b must be paired by seed, got {first.size} and {second.size} values"
        )
    return first, second


def positive(array: FloatArray, name: str) -> FloatArray:
    """The array itself; ValueError with the first value for which no logarithm exists."""
    bad = array[array <= 0]
    if bad.size:
        raise ValueError(f"{name} must be positive to be taken on the log scale, got {bad[0]!s}")
    return array


def _floats(values: Any, name: str) -> FloatArray:
    try:
        # pandas' own missing value only turns into NaN when asked for.
        if _is_series(values):
            return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers, got {type(values).__name__}") from error


def _is_series(values: Any) -> bool:
    return hasattr(values, "to_numpy") and hasattr(values, "reindex")


def _aligned(a: Any, b: Any) -> Any:
    for name, series in (("a", a), ("b", b)):
        if not series.index.is_unique:
            twice = series.index[series.index.duplicated()][0]
            raise ValueError(f"{name} has more than one value for index {twice}")
    alone = a.index.symmetric_difference(b.index)
    if len(alone):
        raise ValueError(
            f"a and b must have the same index to be paired, got {alone[0]} in only one of "
            "them (is the seed the index?)"
        )
    return b.reindex(a.index)
