"""Median seconds between steps."""

import math

import pytest
import torch

from overparam.models import MLP
from overparam.training import Ensemble, StepClock, batch_orders, fit, step_clock


def test_the_median_pause_whatever_happens_between_epochs(monkeypatch):
    ticks = iter([0.0, 1.0, 2.0, 102.0, 103.0, 104.0, 1e3, 1e3 + 7, 1e3 + 14])
    monkeypatch.setattr(step_clock.time, "perf_counter", lambda: next(ticks))
    clock = StepClock()
    assert math.isnan(clock.seconds)

    def train(epochs):
        fit(
            Ensemble([MLP((2, 3, 2))]),
            torch.zeros(6, 2),
            torch.zeros(6, dtype=torch.long),
            epochs=epochs,
            batch_size=2,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
            orders=batch_orders(6, epochs, (0,)),
            callbacks=[clock],
        )

    train(2)
    assert clock.seconds == 1.0
    train(1)  # a new training forgets the last one
    assert clock.seconds == pytest.approx(7.0)
