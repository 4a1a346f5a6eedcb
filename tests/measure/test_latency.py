"""Latency measured in turns."""

import time

import numpy as np
import pytest
import torch

from overparam.measure import latency_ratio


def test_ratio_and_order_on_a_clock_that_drifts(monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def takes(name, seconds):
        def call(x):
            calls.append(name)
            clock[0] += seconds * 1.1 ** len(calls)

        return call

    result = latency_ratio(takes("slow", 4e-3), takes("fast", 2e-3), 0, pairs=8, warmup=1)
    # The drift of 1.1 per call is in every pair, once for and once against the candidate.
    assert np.allclose(result.ratios[::2], 2 / 1.1)
    assert np.allclose(result.ratios[1::2], 2 * 1.1)
    assert result.ratio == pytest.approx((2 / 1.1 + 2 * 1.1) / 2)
    assert result.candidate_ms > result.baseline_ms
    assert calls[:6] == ["slow", "fast", "slow", "fast", "fast", "slow"]


def test_one_thread_without_gradients_and_everything_put_back():
    seen = []
    before = torch.get_num_threads()

    def model(x):
        seen.append((torch.get_num_threads(), torch.is_grad_enabled()))

    latency_ratio(model, model, torch.zeros(1), pairs=2, calls=3, warmup=1)
    assert seen == [(1, False)] * (2 * 3 * 3)
    assert torch.get_num_threads() == before
    assert torch.is_grad_enabled()
    with pytest.raises(ZeroDivisionError):
        latency_ratio(lambda x: 1 / 0, model, 0)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("setting", ["pairs", "calls", "threads"])
def test_bad_settings(setting):
    with pytest.raises(ValueError, match=f"{setting} must be at least 1, got 0"):
        latency_ratio(abs, abs, 1, **{setting: 0})
    with pytest.raises(ValueError, match="warmup"):
        latency_ratio(abs, abs, 1, warmup=-1)
