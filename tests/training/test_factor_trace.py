"""Recording along a factored descent."""

import numpy as np
import pandas as pd
import pytest

from overparam.datasets.matrix_sensing import SensingOperator
from overparam.training.factor_trace import log_spaced_steps
from overparam.training.factored_gd import factored_gd


def test_log_spaced_steps_hold_both_ends_and_grow_geometrically():
    steps = log_spaced_steps(20000, 100)
    assert steps[0] == 0 and steps[-1] == 20000 and len(steps) <= 100
    assert (np.diff(steps) > 0).all()
    tail = steps[steps > 1000]
    ratio = tail[1:] / tail[:-1]
    assert ratio.max() / ratio.min() < 1.01


def test_each_column_is_what_it_says():
    rng = np.random.default_rng(0)
    op, M = (
        SensingOperator((5, 4), 30, seed=0),
        rng.standard_normal((5, 1)) @ rng.standard_normal((1, 4)) / 4,
    )
    start = [0.1 * rng.standard_normal((n, 2)) for n in (5, 4)]
    seen = {}
    trace = factored_gd(
        op,
        op.measure(M, 0.01),
        start,
        0.05,
        40,
        truth=M,
        record_at=[7, 20],
        callback=lambda step, factors: seen.setdefault(step, factors),
    ).trace
    assert trace.step.tolist() == sorted(seen) == [0, 7, 20, 40]
    first = start[0].T @ start[0] - start[1].T @ start[1]
    for row, (F, G) in enumerate(seen.values()):
        assert trace.err2[row] == pytest.approx(((F @ G.T - M) ** 2).sum())
        residual = np.linalg.norm(op.forward(F @ G.T) - op.measure(M, 0.01))
        assert trace.residual[row] == pytest.approx(residual)
        assert trace.sigma_min_F[row] == pytest.approx(np.linalg.norm(F, -2))
        drift = np.linalg.norm(F.T @ F - G.T @ G - first)
        assert trace.imbalance_drift[row] == pytest.approx(drift, abs=1e-15)


def test_a_frame_has_a_row_per_member_and_record():
    op = SensingOperator((4, 4), kind="identity")
    rng = np.random.default_rng(1)
    start = [0.3 * rng.standard_normal((2, 3, 4, 2)) for _ in range(2)]
    trace = factored_gd(op, op.forward(np.eye(4)), start, 0.1, 9, record_at=[4]).trace
    axes = pd.DataFrame({"seed": [7, 8]}), pd.DataFrame({"alpha": [0.1, 0.2, 0.3]})
    frame = trace.to_frame(*axes)
    assert len(frame) == 3 * 2 * 3 and frame["err2"].isna().all()
    member = frame[(frame["seed"] == 8) & (frame["alpha"] == 0.2)]
    assert member["step"].tolist() == [0, 4, 9]
    np.testing.assert_array_equal(member["residual"], trace.residual[:, 1, 1])
    np.testing.assert_array_equal(member["imbalance_drift"], trace.imbalance_drift[:, 1, 1])
    with pytest.raises(ValueError, match="axes must have"):
        trace.to_frame(axes[1], axes[0])


@pytest.mark.parametrize(("steps", "count"), [(0, 10), (10, 1)])
def test_bad_input_is_refused(steps, count):
    with pytest.raises(ValueError, match="steps must be >= 1 and count >= 2"):
        log_spaced_steps(steps, count)
