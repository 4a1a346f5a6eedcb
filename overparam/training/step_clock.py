"""Seconds of a training step, for show: no verdict rests on a clock."""

import time
from statistics import median

from overparam.training.running import Callback, Fit


class StepClock(Callback):
    """Notes the time at every step, so that measurements between epochs blur nothing.

    Example:
        >>> StepClock().seconds
        nan
    """

    def __init__(self) -> None:
        self._ticks: list[float] = []

    def on_epoch_start(self, fit: Fit) -> None:
        """Forget an earlier training."""
        if fit.step == 0:
            self._ticks.clear()

    def on_step(self, fit: Fit) -> None:
        """Note the time."""
        self._ticks.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """Median seconds from one step to the next; NaN before there are two."""
        pauses = [b - a for a, b in zip(self._ticks, self._ticks[1:], strict=False)]
        return median(pauses) if pauses else float("nan")
