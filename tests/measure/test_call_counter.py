import time

import numpy as np
import pytest

from overparam.measure import CallCounter


def test_points_are_counted_and_the_values_are_the_function_s():
    f = CallCounter(np.square)
    assert f(3.0) == 9.0
    np.testing.assert_array_equal(f(np.arange(6).reshape(2, 3)), [[0, 1, 4], [9, 16, 25]])
    assert f.calls == 7


def test_a_call_that_fails_counts_too():
    def fail(x):
        time.sleep(0.01)
        raise ArithmeticError

    f = CallCounter(fail)
    with pytest.raises(ArithmeticError):
        f(np.zeros(2))
    assert f.calls == 2 and f.seconds >= 0.01
