"""The monitor on factors whose regime is known."""

import numpy as np
import pytest

from overparam.datasets.matrix_sensing import SensingOperator, low_rank_ground_truth
from overparam.measure.factor_monitor import FactorMonitor
from overparam.training.factor_trace import log_spaced_steps
from overparam.training.factored_gd import factored_gd, random_factors

OP = SensingOperator((10, 10), kind="identity")
M = low_rank_ground_truth(10, 10, 2, symmetric=True, seed=0)


def watched(start, steps, k):
    monitor, losses = FactorMonitor(), []

    def note(step, factors):
        losses.append(((factors[0] @ factors[1].T - M) ** 2).sum())
        monitor.observe(step, losses[-1], *factors)

    factored_gd(OP, M.ravel(), start, 0.1, steps, record_at=log_spaced_steps(steps), callback=note)
    return monitor, losses[-1]


def test_balanced_overparameterised_factors_are_flagged_and_the_step_mends_them():
    X = random_factors((10, 10), 4, 0.5, parameterization="symmetric", seed=0)[0]
    monitor, stuck = watched((X, X), 4000, 4)
    advice = monitor.advice()
    assert advice.sublinear and advice.beta == pytest.approx(1, rel=0.01)
    after, mended = watched(monitor.rebalanced(), 400, 4)
    assert stuck > 1e-6 and mended < 1e-20
    assert not after.advice().sublinear
    with pytest.raises(ValueError, match="nothing was observed"):
        monitor.rebalanced()


@pytest.mark.parametrize("k", [2, 4])
def test_imbalanced_or_exact_rank_factors_are_left_alone(k):
    monitor, _ = watched(random_factors((10, 10), k, 0.5, seed=0), 4000, k)
    assert not monitor.advice().sublinear


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: FactorMonitor(excess_over=np.nan), "excess_over"),
        (lambda: FactorMonitor(weak=0.0), "weak"),
        (lambda: FactorMonitor().observe(1, -1.0, np.ones((3, 2)), np.ones((3, 2))), "loss"),
        (lambda: FactorMonitor().observe(1, 1.0, np.ones((3, 2)), np.ones((3, 1))), "F, G must"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_steps_must_grow():
    monitor = FactorMonitor()
    monitor.observe(3, 1.0, np.ones((3, 2)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="step must exceed 3"):
        monitor.observe(3, 1.0, np.ones((3, 2)), np.ones((3, 2)))
