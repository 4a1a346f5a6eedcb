"""How long two models take, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class LatencyRatio:
    """Times of a candidate and a baseline, taken in turns.

    Attributes:
        ratio: median over pairs of candidate over baseline.
        candidate_ms: median milliseconds per call of the candidate.
        baseline_ms: median milliseconds per call of the baseline.
        ratios: (pairs,) ratio of each pair.
    """

    ratio: float
    candidate_ms: float
    baseline_ms: float
    ratios: NDArray[np.float64]


def latency_ratio(
    candidate: Callable[..., Any],
    baseline: Callable[..., Any],
    *inputs: Any,
    pairs: int = 30,
    calls: int = 1,
    warmup: int = 3,
    threads: int = 1,
) -> LatencyRatio:
    """Time two callables in turns on the same inputs and compare pair by pair.

    Clock changes and other load hit both members of a pair alike, and the order within a pair
    alternates, so the median ratio is steadier than the ratio of two medians taken apart. Runs
    under `torch.inference_mode` and puts the number of threads back. CUDA work is waited for.

    Args:
        candidate: a module or function.
        baseline: what it is compared with.
        inputs: positional arguments of both.
        pairs: timed pairs.
        calls: calls per timing; raise it for calls of less than about 0.1 ms.
        warmup: untimed calls of each.
        threads: torch threads while timing.

    Raises:
        ValueError: `pairs`, `calls` or `threads` < 1, or `warmup` < 0.
    """
    for name, value, least in (
        ("pairs", pairs, 1),
        ("calls", calls, 1),
        ("warmup", warmup, 0),
        ("threads", threads, 1),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    on_cuda = any(isinstance(x, torch.Tensor) and x.is_cuda for x in inputs)

    def milliseconds(function: Callable[..., Any]) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            function(*inputs)
        if on_cuda:
            torch.cuda.synchronize()
        return (time.perf_counter() - start) * 1e3 / calls

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            for _ in range(warmup):
                milliseconds(candidate)
                milliseconds(baseline)
            times = np.empty((pairs, 2))
            for index in range(pairs):
                if index % 2:
                    times[index, 1] = milliseconds(baseline)
                    times[index, 0] = milliseconds(candidate)
                else:
                    times[index, 0] = milliseconds(candidate)
                    times[index, 1] = milliseconds(baseline)
    finally:
        torch.set_num_threads(before)
    ratios = times[:, 0] / times[:, 1]
    return LatencyRatio(
        ratio=float(np.median(ratios)),
        candidate_ms=float(np.median(times[:, 0])),
        baseline_ms=float(np.median(times[:, 1])),
        ratios=ratios,
    )
