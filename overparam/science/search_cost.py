"""What a knot search costs beside the function that it tabulates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from overparam.measure import CallCounter, timed
from overparam.science.autoknots import autoknots

__all__ = ["search_cost"]


def search_cost(
    f: Callable[[Any], Any],
    a: float,
    b: float,
    rel: float = 1e-5,
    *,
    inner: CallCounter | None = None,
    **options: Any,
) -> dict[str, float]:
    """Work of :func:`~overparam.science.autoknots` and of its function, counted and timed.

    Args:
        f, a, b, rel, options: as for ``autoknots``.
        inner: what f itself calls, an integrand say; by default f.

    Returns:
        n_eval (points at which f was evaluated), inner_calls (calls of ``inner`` meanwhile),
        knots_refitted (knots of all splines that were fitted), f_seconds and seconds (in f, and
        all in all).

    Raises:
        ValueError: what the search refuses.

    Example:
        >>> import numpy as np
        >>> cost = search_cost(np.exp, 0, 5, 1e-4)
        >>> cost["n_eval"] == cost["inner_calls"] < cost["knots_refitted"]
        True
    """
    counted = CallCounter(f)
    before = 0 if inner is None else inner.calls
    found, seconds = timed(autoknots, counted, a, b, rel, **options)
    return {
        "n_eval": found.n_eval,
        "inner_calls": counted.calls if inner is None else inner.calls - before,
        "knots_refitted": found.knots_refitted,
        "f_seconds": counted.seconds,
        "seconds": seconds,
    }
