"""Cost of AutoKnots: many knots, and what it adds to a costly function."""

import time
import tracemalloc

import numpy as np
import torch

from overparam.science.autoknots import autoknots
from overparam.science.differentiable_cubic import DifferentiableCubic
from overparam.science.projected_profile import projected_profile


def test_a_hundred_thousand_knots_in_five_seconds_and_200_megabytes(record_property):
    f = lambda x: np.sin(2000 * x) + 2  # noqa: E731
    start = time.perf_counter()
    result = autoknots(f, 0, 3, 1e-7)
    seconds = time.perf_counter() - start
    tracemalloc.start()
    autoknots(f, 0, 3, 1e-7)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    record_property("knots", len(result.x))
    record_property("seconds", seconds)
    record_property("peak_mib", peak)
    assert len(result.x) > 100_000 and result.converged
    assert seconds < 5 and peak < 200


def test_overhead_is_small_against_a_function_of_a_millisecond(record_property):
    spent = {"seconds": 0.0, "calls": 0}

    def sigma(u):
        start = time.perf_counter()
        values = projected_profile(lambda r: 1 / (r * (1 + r) ** 2 + 1e-300), np.exp(u), 1e-13)
        # A second projection brings a call to about a millisecond or more.
        values += projected_profile(lambda r: np.exp(-r), np.exp(u), 1e-13)
        spent["seconds"] += time.perf_counter() - start
        spent["calls"] += u.size
        return values

    start = time.perf_counter()
    result = autoknots(sigma, np.log(1e-2), np.log(1e2), 1e-4, scale=1e-3)
    overhead = time.perf_counter() - start - spent["seconds"]
    share = (overhead / spent["calls"]) / max(spent["seconds"] / spent["calls"], 1e-3)
    record_property("milliseconds_per_call", 1e3 * spent["seconds"] / spent["calls"])
    record_property("overhead_share", share)
    assert spent["calls"] == len(result.x)
    assert share < 0.10


def test_a_table_of_a_hundred_thousand_knots_is_differentiable_in_linear_time(record_property):
    x = np.linspace(0, 1, 100_001)
    table = DifferentiableCubic(x, np.sin(x), trainable=True)
    q = torch.rand(10_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start = time.perf_counter()
    table(q).sum().backward()
    seconds = time.perf_counter() - start
    record_property("seconds", seconds)
    assert seconds < 1
