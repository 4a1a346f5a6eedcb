"""Factored descent against autograd, closed forms and the laws of the paper."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from overparam.datasets.matrix_sensing import SensingOperator, low_rank_ground_truth
from overparam.theory.sensing import recovery_noise_floor, sensing_rates
from overparam.training.balance_break import balance_break_step
from overparam.training.factored_gd import (
    DivergenceError,
    accelerated_factored_gd,
    factored_gd,
    random_factors,
)

OPERATORS = {
    "gaussian": SensingOperator((6, 6), 40, seed=0),
    "gaussian-few": SensingOperator((6, 6), 10, seed=0),
    "identity": SensingOperator((6, 6), kind="identity"),
}


def matrices(op):
    return torch.tensor(np.eye(36) if op.matrices is None else op.matrices)


@pytest.mark.parametrize("name", OPERATORS)
def test_one_symmetric_step_is_the_gradient_of_the_loss(name):
    op, rng = OPERATORS[name], np.random.default_rng(0)
    y = rng.standard_normal(op.m)
    X0 = rng.standard_normal((6, 3)) * 0.3
    X = torch.tensor(X0, requires_grad=True)
    loss = ((matrices(op) @ (X @ X.T).reshape(-1) - torch.tensor(y)) ** 2).sum() / 4
    loss.backward()
    after = factored_gd(op, y, (X0,), 0.01, 1, "symmetric").factors[0]
    np.testing.assert_allclose((X0 - after) / 0.01, X.grad.numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", OPERATORS)
def test_one_asymmetric_step_is_the_gradient_of_the_loss(name):
    op, rng = OPERATORS[name], np.random.default_rng(1)
    y = rng.standard_normal(op.m)
    start = [rng.standard_normal((6, 2)) * 0.3 for _ in range(2)]
    F, G = (torch.tensor(factor, requires_grad=True) for factor in start)
    loss = ((matrices(op) @ (F @ G.T).reshape(-1) - torch.tensor(y)) ** 2).sum() / 2
    loss.backward()
    after = factored_gd(op, y, start, 0.01, 1).factors
    for before, now, factor in zip(start, after, (F, G), strict=True):
        np.testing.assert_allclose((before - now) / 0.01, factor.grad, rtol=1e-9, atol=1e-11)


def test_scalar_recursion_is_exact():
    x, s, eta = 0.3, 0.8, 0.2
    op = SensingOperator((1, 1), kind="identity")
    record = []
    factored_gd(
        op,
        [s],
        ([[x]],),
        eta,
        50,
        "symmetric",
        record_at=range(51),
        callback=lambda _, factors: record.append(float(factors[0][0, 0])),
    )
    for value in record:
        assert abs(value - x) <= 1e-15
        x = x - eta * (x * x - s) * x


def test_symmetric_constant_is_that_of_the_theory():
    op = SensingOperator((10, 10), kind="identity")
    M = low_rank_ground_truth(10, 10, 2, symmetric=True, seed=0)
    start = random_factors((10, 10), 5, 0.5, parameterization="symmetric", seed=0)
    trace = factored_gd(
        op, op.forward(M), start, 0.1, 12000, "symmetric", truth=M, record_at=[10000]
    ).trace
    law = sensing_rates(5, 2, 0.1, trace.step[1:]).symmetric_err2
    np.testing.assert_allclose(trace.err2[1:], law, rtol=0.05)


def test_asymmetric_tail_ratio_is_that_of_sigma_min():
    op = SensingOperator((10, 12), kind="identity")
    M = low_rank_ground_truth(10, 12, 2, seed=1)
    start = random_factors((10, 12), 4, 0.5, seed=1)
    trace = factored_gd(op, op.forward(M), start, 0.1, 3000, truth=M, record_at=range(3001)).trace
    at = np.argmax(trace.err2 < 1e-16)
    assert 0 < at < 3000
    law = sensing_rates(4, 2, 0.1, 1, sigma_min_F=trace.sigma_min_F[at]).asymmetric_factor
    assert trace.err2[at + 1] / trace.err2[at] == pytest.approx(law, rel=1e-3)


@pytest.mark.parametrize("parameterization", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("m", [None, 150])
def test_rotating_the_start_changes_nothing(parameterization, m):
    op = SensingOperator((8, 8), m, kind="identity" if m is None else "gaussian", seed=2)
    M = low_rank_ground_truth(8, 8, 2, symmetric=True, seed=2)
    start = random_factors((8, 8), 4, 0.4, parameterization=parameterization, seed=2)
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    traces = [
        factored_gd(op, op.forward(M), factors, 0.1, 300, parameterization, truth=M).trace.err2
        for factors in (start, [factor @ Q for factor in start])
    ]
    np.testing.assert_allclose(*traces, rtol=1e-10, atol=1e-20)


def test_members_of_a_batch_do_not_mix():
    seeds = [3, 4]
    op = SensingOperator((7, 5), 60, seed=seeds)
    M = low_rank_ground_truth(7, 5, 1, seed=seeds)
    starts = [random_factors((7, 5), 2, alpha, seed=seeds) for alpha in (0.5, 0.2)]
    init = [np.stack(factors, axis=1) for factors in zip(*starts, strict=True)]
    together = accelerated_factored_gd(op, op.forward(M), init, 0.1, 300, truth=M)
    assert together.trace.err2.shape[1:] == (2, 2)
    for s, seed in enumerate(seeds):
        own = SensingOperator((7, 5), 60, seed=seed)
        for a, alpha in enumerate((0.5, 0.2)):
            alone = accelerated_factored_gd(
                own,
                own.forward(M[s]),
                random_factors((7, 5), 2, alpha, seed=seed),
                0.1,
                300,
                truth=M[s],
            )
            assert alone.switched_at == together.switched_at[s, a] > 0
            np.testing.assert_allclose(
                alone.trace.err2, together.trace.err2[:, s, a], rtol=1e-9, atol=1e-26
            )


def test_seeds_share_an_identity_operator():
    op = SensingOperator((6, 6), kind="identity")
    M = low_rank_ground_truth(6, 6, 2, seed=range(3))
    result = factored_gd(op, op.forward(M), random_factors((6, 6), 2, 0.5, seed=range(3)), 0.1, 900)
    F, G = result.factors
    np.testing.assert_allclose(F @ G.swapaxes(-1, -2), M, atol=1e-12)
    assert result.trace.err2 is None


# The sizes of the paper's experiments: two start scales on each of three problems.
SEEDS = range(3)
WIDE = SensingOperator((20, 20), 400, seed=SEEDS)
WIDE_M = low_rank_ground_truth(20, 20, 2, seed=SEEDS)
STARTS = [random_factors((20, 20), 4, alpha, seed=SEEDS) for alpha in (0.5, 0.15)]
INIT = [np.stack(factors, axis=1) for factors in zip(*STARTS, strict=True)]


def accelerated(steps, **options):
    return accelerated_factored_gd(
        WIDE, WIDE.forward(WIDE_M), INIT, 0.1, steps, truth=WIDE_M, **options
    )


def test_rate_forgets_alpha_and_drift_stays_small():
    result = accelerated(800, record_at=range(0, 801, 10))
    trace = result.trace
    reached = trace.step[np.argmax(trace.err2 < 1e-16, axis=0)] - result.switched_at
    ratio = reached[:, 1] / reached[:, 0]
    assert (trace.err2[-1] < 1e-16).all()
    assert ((ratio > 0.7) & (ratio < 1.4)).all()
    assert trace.imbalance_drift.max() < 0.05


def test_without_rescaling_it_is_plain_descent():
    control = accelerated(400, modified_step=lambda F, G, beta: (F, G))
    plain = factored_gd(WIDE, WIDE.forward(WIDE_M), INIT, 0.1, 400, truth=WIDE_M)
    assert (control.switched_at > 0).all() and (plain.switched_at == -1).all()
    np.testing.assert_array_equal(control.trace.err2, plain.trace.err2)
    assert (control.trace.err2[-1] > 1e-6).all()


def test_rate_is_that_of_the_theory_for_the_identity():
    op = SensingOperator((12, 12), kind="identity")
    M = low_rank_ground_truth(12, 12, 2, seed=0)
    start = random_factors((12, 12), 4, 0.5, seed=0)
    result = accelerated_factored_gd(
        op, op.forward(M), start, 0.1, 1500, tau=1e-3, beta=0.8, truth=M, record_at=range(1501)
    )
    trace = result.trace
    law = sensing_rates(4, 2, 0.1, 1, beta=0.8, sigma_r=1.0).accelerated_factor
    window = (trace.step > result.switched_at) & (trace.err2 < 1e-12) & (trace.err2 > 1e-22)
    slope = np.polyfit(trace.step[window], np.log(trace.err2[window]), 1)[0]
    assert slope == pytest.approx(np.log(law), rel=0.03)


def test_rectangular_problems_are_solved_with_a_small_drift():
    op = SensingOperator((12, 25), kind="identity")
    M = low_rank_ground_truth(12, 25, 2, seed=0)
    runs = {
        imbalance: factored_gd(
            op,
            op.forward(M),
            random_factors((12, 25), 4, 0.5, imbalance=imbalance, seed=0),
            0.1,
            2500,
            truth=M,
        ).trace
        for imbalance in (1 / 3, 0.0)
    }
    assert all(trace.imbalance_drift.max() < 0.05 for trace in runs.values())
    assert all(trace.err2[-1] < 1e-10 for trace in runs.values())


def test_noise_floor_and_stopping_by_the_discrepancy_principle():
    seeds, sigma = range(20), 1e-3
    op = SensingOperator((8, 8), 200, seed=seeds)
    M = low_rank_ground_truth(8, 8, 1, seed=seeds)
    y = op.measure(M, sigma, seed=seeds)
    exact = factored_gd(op, y, random_factors((8, 8), 1, 0.5, seed=seeds), 0.1, 1500, truth=M)
    floor = recovery_noise_floor(8, 8, 1, sigma, m=200)
    assert exact.trace.err2[-1].mean() == pytest.approx(floor, rel=0.3)
    bound = sigma * np.sqrt(op.m)
    early = factored_gd(
        op,
        y,
        random_factors((8, 8), 3, 0.5, seed=seeds),
        0.1,
        3000,
        truth=M,
        stop_below=bound,
        record_at=range(3001),
    )
    assert (early.stopped_at > 0).any()
    for member in np.flatnonzero(early.stopped_at > 0):
        residual = early.trace.residual[:, member]
        at = early.stopped_at[member]
        assert residual[at] <= bound < residual[at - 1]
        np.testing.assert_array_equal(residual[at:], residual[at])


def test_a_frame_ends_where_a_member_stopped():
    op = SensingOperator((6, 6), kind="identity")
    M = low_rank_ground_truth(6, 6, 2, seed=range(2))
    start = random_factors((6, 6), 2, 0.5, seed=range(2))
    y = op.forward(M) * np.array([[1.0], [0.5]])
    descent = accelerated_factored_gd(op, y, start, 0.2, 400, stop_below=1e-6)
    frame = descent.to_frame(pd.DataFrame({"seed": [4, 5]}))
    last = frame.groupby("seed")["step"].max()
    assert last.tolist() == descent.stopped_at.tolist() and last[4] < last[5] < 400
    assert frame.groupby("seed")["switched_at"].first().tolist() == descent.switched_at.tolist()


def test_a_run_ends_when_every_member_has_stopped():
    op = SensingOperator((5, 5), kind="identity")
    M = low_rank_ground_truth(5, 5, 1, seed=0)
    start = random_factors((5, 5), 1, 0.5, seed=0)
    result = factored_gd(
        op, op.forward(M), start, 0.1, 10**9, stop_below=1e-6, record_at=range(999)
    )
    assert result.trace.step[-1] == result.stopped_at < 999


def test_divergence_names_step_and_member():
    op = SensingOperator((4, 4), 30, seed=0)
    M = low_rank_ground_truth(4, 4, 1, seed=0)
    start = [np.stack([factor, 1e3 * factor]) for factor in random_factors((4, 4), 1, 0.5, seed=0)]
    with (
        warnings.catch_warnings(),
        pytest.raises(DivergenceError, match="member \\(1,\\)") as caught,
    ):
        warnings.simplefilter("error")
        factored_gd(op, op.forward(M), start, 0.1, 100)
    assert caught.value.member == (1,) and 0 < caught.value.step < 20


def test_too_small_a_factor_rank_is_flagged():
    op = SensingOperator((5, 5), kind="identity")
    M = low_rank_ground_truth(5, 5, 3, seed=0)
    with pytest.warns(UserWarning, match=r"rank\(M\) = 3 > k = 2"):
        factored_gd(op, op.forward(M), random_factors((5, 5), 2, 0.5), 0.1, 5, truth=M)


def test_random_factors_share_their_direction_across_scales():
    small, large = (random_factors((6, 9), 3, alpha, seed=[1, 2]) for alpha in (0.1, 0.5))
    np.testing.assert_allclose(small[0] * 5, large[0])
    np.testing.assert_allclose(small[1] * 5, large[1])
    wide = random_factors((200, 300), 200, 1.0, imbalance=0.5, seed=0)
    assert wide[0].std() == pytest.approx(200**-0.5, rel=0.02)
    assert wide[1].std() == pytest.approx(0.5 * 300**-0.5, rel=0.02)


SQUARE = SensingOperator((4, 4), kind="identity")
PSD = low_rank_ground_truth(4, 4, 2, symmetric=True, seed=0)
START = random_factors((4, 4), 2, 0.5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: random_factors((4, 5), 0, 0.5), "k must be in 1..4, got 0"),
        (lambda: random_factors((4, 5), 5, 0.5), "k must be in 1..4, got 5"),
        (lambda: random_factors((4, 5), 2, 0.0), "alpha"),
        (lambda: random_factors((4, 5), 2, 0.5, imbalance=-1), "imbalance"),
        (lambda: random_factors((4, 5), 2, 0.5, parameterization="symmetric"), "square"),
        (lambda: factored_gd(SQUARE, np.ones(15), START, 0.1, 5), "y must have shape"),
        (lambda: factored_gd(SQUARE, np.full(16, np.nan), START, 0.1, 5), "y must be finite"),
        (lambda: factored_gd(SQUARE, PSD.ravel(), START, 2.0001, 5), r"eta must be below 2/\|\|M"),
        (lambda: factored_gd(SQUARE, PSD.ravel(), START, 0.0, 5), "eta"),
        (lambda: factored_gd(SQUARE, PSD.ravel(), START, 0.1, 0), "steps"),
        (lambda: factored_gd(SQUARE, PSD.ravel(), START[:1], 0.1, 5), "init must be a tuple"),
        (lambda: factored_gd(SQUARE, PSD.ravel(), START, 0.1, 5, record_at=[6]), "record_at"),
        (lambda: factored_gd(SQUARE, PSD.ravel(), START, 0.1, 5, stop_below=-1), "stop_below"),
        (lambda: factored_gd(SQUARE, PSD.ravel(), START, 0.1, 5, "both"), "parameterization"),
        (
            lambda: factored_gd(SQUARE, -PSD.ravel(), START[:1], 0.1, 5, "symmetric", truth=-PSD),
            "smallest eigenvalue is -1",
        ),
        (
            lambda: factored_gd(
                SQUARE,
                np.eye(4)[::-1].ravel(),
                START[:1],
                0.1,
                5,
                "symmetric",
                truth=np.eye(4)[[1, 2, 0, 0]] * [1, 1, 0, 0],
            ),
            "truth must be symmetric",
        ),
        (lambda: accelerated_factored_gd(SQUARE, PSD.ravel(), START, 0.1, 5, tau=1.0), "tau"),
        (lambda: accelerated_factored_gd(SQUARE, PSD.ravel(), START, 0.1, 5, tau=0.0), "tau"),
        (lambda: accelerated_factored_gd(SQUARE, PSD.ravel(), START, 0.1, 5, beta=0.0), "beta"),
        (lambda: balance_break_step(*START, -1.0), "beta"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
