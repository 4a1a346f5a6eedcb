"""Timing a call."""

import time

import pytest

from overparam.measure import timed


def test_a_call_s_value_and_seconds():
    def slow(x, *, y):
        time.sleep(0.02)
        return x + y

    value, seconds = timed(slow, 1, y=2)
    assert value == 3 and seconds >= 0.02
    with pytest.raises(TypeError):
        timed(slow, 1)
