"""What a function costs: how often it was evaluated, and how long that took."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np


class CallCounter:
    """A function that counts its evaluations: an array of n points counts as n.

    Attributes:
        calls: points at which it was evaluated.
        seconds: wall-clock time spent in it.

    Example:
        >>> f = CallCounter(np.exp)
        >>> f(0.0), f(np.zeros(4)).sum(), f.calls
        (np.float64(1.0), np.float64(4.0), 5)
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self.calls = 0
        self.seconds = 0.0

    def __call__(self, x: Any) -> Any:
        start = time.perf_counter()
        try:
            return self._function(x)
        finally:
            self.seconds += time.perf_counter() - start
            self.calls += int(np.size(x))
