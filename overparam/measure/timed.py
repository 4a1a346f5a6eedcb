"""What a call returns, and how long it took."""

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

__all__ = ["timed"]


def timed(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, float]:
    """Call a function once.

    Returns:
        what it returns, and the wall-clock seconds until it did.

    Example:
        >>> total, seconds = timed(sum, [1, 2, 3])
        >>> total, seconds >= 0
        (6, True)
    """
    start = time.perf_counter()
    return function(*args, **kwargs), time.perf_counter() - start
