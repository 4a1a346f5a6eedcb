"""Gradient descent on the factors of a low-rank matrix, plain and with one modified step.

Reference: Xiong, Ding and Du, "How Over-Parameterization Slows Down Gradient Descent in Matrix
Sensing", ICLR 2024, arXiv 2310.01769.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from overparam.datasets.matrix_sensing import SensingOperator
from overparam.training._factored_checks import (
    aligned,
    check_parameterization,
    check_rank,
    check_target,
    checked_record,
    checked_start,
)
from overparam.training.balance_break import (
    balance_break_step,
    checked_beta,
    estimate_sigma_r,
)
from overparam.training.factor_trace import FactorTrace, Int, Recorder

Float = NDArray[np.float64]
Factors = tuple[Float, ...]
Callback = Callable[[int, Factors], None]
ModifiedStep = Callable[[Float, Float, Float], tuple[Float, Float]]
Parameterization = Literal["symmetric", "asymmetric"]

__all__ = [
    "DivergenceError",
    "FactoredDescent",
    "accelerated_factored_gd",
    "factored_gd",
    "random_factors",
]


class DivergenceError(ArithmeticError):
    """Factors that left the range of float64; ``step`` and ``member`` tell when and which."""

    def __init__(self, step: int, member: tuple[int, ...], eta: float) -> None:
        super().__init__(
            f"factors of member {member} are not finite at step {step}; "
            f"eta = {eta} is too large (it must stay well below 2/||M||)"
        )
        self.step, self.member = step, member


@dataclass(frozen=True)
class FactoredDescent:
    """Result of a descent.

    Attributes:
        factors: (X,) or (F, G) after the last step, float64.
        trace: quantities at the recorded steps.
        stopped_at: (*batch) step at which ``stop_below`` froze the member, -1 if never.
        switched_at: (*batch) step of the balance-breaking step, -1 if it was not taken.
    """

    factors: Factors
    trace: FactorTrace
    stopped_at: Int
    switched_at: Int

    def to_frame(self, *axes: pd.DataFrame) -> pd.DataFrame:
        """The trace as :meth:`FactorTrace.to_frame` gives it, and the column ``switched_at``.

        What was recorded of a member after it had stopped is left out.
        """
        frame = self.trace.to_frame(*axes)
        records = len(self.trace.step)
        stopped = np.repeat(self.stopped_at.reshape(-1), records)
        frame = frame.assign(switched_at=np.repeat(self.switched_at.reshape(-1), records))
        moving = (stopped < 0) | (frame["step"] <= stopped)
        return frame[moving].reset_index(drop=True)


def random_factors(
    shape: tuple[int, int],
    k: int,
    alpha: float,
    *,
    imbalance: float = 1 / 3,
    parameterization: Parameterization = "asymmetric",
    seed: int | Sequence[int] = 0,
) -> Factors:
    """Random start: X = alpha X~, or F = alpha F~ and G = alpha * imbalance * G~.

    The tilde entries are i.i.d. N(0, 1/n) with n the factor's number of rows, and depend on the
    seed alone, not on alpha or imbalance (Section 4 of the paper; imbalance 1/3 is its choice,
    1 the near-balanced control).

    Returns:
        (X,) with X (n1, k), or (F, G) with F (n1, k), G (n2, k); a leading axis over a
        sequence of seeds.

    Raises:
        ValueError: for k outside 1..min(n1, n2), alpha <= 0 or imbalance < 0.
    """
    n1, n2 = shape
    check_rank(k, shape)
    if not alpha > 0 or not np.isfinite(alpha):
        raise ValueError(f"alpha must be a finite number > 0, got {alpha}")
    if not imbalance >= 0 or not np.isfinite(imbalance):
        raise ValueError(f"imbalance must be a finite number >= 0, got {imbalance}")
    check_parameterization(parameterization, shape)
    if not isinstance(seed, int | np.integer):
        each = [
            random_factors(
                shape,
                k,
                alpha,
                imbalance=imbalance,
                parameterization=parameterization,
                seed=s,
            )
            for s in seed
        ]
        return tuple(np.stack(factor) for factor in zip(*each, strict=True))
    rng = np.random.Generator(np.random.Philox(key=[seed, 4]))
    F = alpha * rng.standard_normal((n1, k)) / np.sqrt(n1)
    if parameterization == "symmetric":
        return (F,)
    return F, alpha * imbalance * rng.standard_normal((n2, k)) / np.sqrt(n2)


def factored_gd(
    op: SensingOperator,
    y: ArrayLike,
    init: Sequence[ArrayLike],
    eta: float,
    steps: int,
    parameterization: Parameterization = "asymmetric",
    *,
    truth: ArrayLike | None = None,
    record_at: Sequence[int] | Int | None = None,
    stop_below: float = 0.0,
    callback: Callback | None = None,
) -> FactoredDescent:
    """Plain gradient descent on 1/4 ||A(X X^T) - y||^2 or 1/2 ||A(F G^T) - y||^2.

    Symmetric: X <- X - eta S X with S = sym(A*(A(X X^T) - y)), sym(B) = (B + B^T)/2.
    Asymmetric: F <- F - eta R G and, from the same residual R = A*(A(F G^T) - y) and the old F,
    G <- G - eta R^T F.

    Everything runs in float64 (float32 floors near 1e-13 and looks like a slow rate). All batch
    members advance together; no member depends on another.

    Args:
        op: the sensing operator; if it is a batch of S, its axis leads every array.
        y: measurements, (*b, m), where *b are leading axes of *batch or 1.
        init: (X,) with X (*batch, n, k), or (F, G) with F (*batch, n1, k), G (*batch, n2, k).
        eta: step size, below 2/||M||.
        steps: number of iterations T.
        parameterization: "symmetric" or "asymmetric".
        truth: M, (*b, n1, n2); gives ``err2`` and lets M be checked.
        record_at: steps to record; log-spaced by default, 0 and T always included.
        stop_below: freeze a member whose residual ||A(F G^T) - y|| is at most this at a recorded
            step. With noise of standard deviation s, s * sqrt(m) is the discrepancy principle:
            going on would fit the noise.
        callback: called as ``callback(step, factors)`` at every recorded step.

    Raises:
        ValueError: for arguments out of range, an M that is not positive semi-definite in the
            symmetric mode, or eta >= 2/||M|| where M is known.
        DivergenceError: if a member leaves the range of float64.

    Warns:
        UserWarning: if rank(M) > k, so that no factors reach zero error.
    """
    return _descend(
        op,
        y,
        init,
        eta,
        steps,
        parameterization,
        truth,
        record_at,
        stop_below,
        callback,
        None,
    )


def accelerated_factored_gd(
    op: SensingOperator,
    y: ArrayLike,
    init: Sequence[ArrayLike],
    eta: float,
    steps: int,
    *,
    tau: float = 0.1,
    beta: float | None = None,
    modified_step: ModifiedStep | None = None,
    truth: ArrayLike | None = None,
    record_at: Sequence[int] | Int | None = None,
    stop_below: float = 0.0,
    callback: Callback | None = None,
) -> FactoredDescent:
    """Asymmetric descent with one balance-breaking step, so that the rate forgets alpha.

    A member takes the modified step once, when its measured residual first satisfies
    ||A(F G^T) - y|| <= tau ||y||, and goes on with plain descent. Section 5 of the paper.

    Args:
        tau: relative residual that triggers the switch, in (0, 1).
        beta: scale of F after the switch; by default sqrt(sigma_r) with sigma_r from
            :func:`estimate_sigma_r`, the value with the best rate.
        modified_step: what happens at the switch, (F, G, beta) -> (F, G); by default
            :func:`balance_break_step`. The identity is the control.

    The other arguments, results and errors are those of :func:`factored_gd`.
    """
    if not 0 < tau < 1:
        raise ValueError(f"tau must be in (0, 1), got {tau}")
    if beta is not None:
        checked_beta(beta)
    switch = _Switch(tau, beta, modified_step or balance_break_step)
    return _descend(
        op,
        y,
        init,
        eta,
        steps,
        "asymmetric",
        truth,
        record_at,
        stop_below,
        callback,
        switch,
    )


@dataclass(frozen=True)
class _Switch:
    tau: float
    beta: float | None
    step: ModifiedStep


def _descend(
    op: SensingOperator,
    y: ArrayLike,
    init: Sequence[ArrayLike],
    eta: float,
    steps: int,
    parameterization: Parameterization,
    truth: ArrayLike | None,
    record_at: Sequence[int] | Int | None,
    stop_below: float,
    callback: Callback | None,
    switch: _Switch | None,
) -> FactoredDescent:
    F, G = checked_start(op, init, parameterization)
    batch = F.shape[:-2]
    y_ = aligned(y, batch, (op.m,), "y")
    M = None if truth is None else aligned(truth, batch, op.shape, "truth")
    check_target(op, y_, M, F.shape[-1], eta, parameterization)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not stop_below >= 0:
        raise ValueError(f"stop_below must be >= 0, got {stop_below}")
    record = set(checked_record(record_at, steps).tolist())

    symmetric = parameterization == "symmetric"
    recorder = Recorder(op, y_, M)
    recorder.restart_imbalance(F, G, np.ones(batch, dtype=bool))
    target = np.broadcast_to(op.adjoint(np.broadcast_to(y_, (*batch, op.m))), (*batch, *op.shape))
    rate = np.full((*batch, 1, 1), eta)
    stopped_at, switched_at = np.full(batch, -1), np.full(batch, -1)
    norm_y = np.linalg.norm(y_, axis=-1)

    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(steps + 1):
            product = F @ np.swapaxes(G, -1, -2)
            # An overflowing sum of squares shows divergence at the price of one dot product.
            if not np.isfinite(np.vdot(product, product)):
                raise _divergence(step, product, eta)
            if switch and (switched_at < 0).any():
                residual = recorder.residual(product)
                now = (residual <= switch.tau * norm_y) & (switched_at < 0) & (stopped_at < 0)
                if now.any():
                    F, G = _switched(F, G, now, residual, switch)
                    recorder.restart_imbalance(F, G, now)
                    switched_at = np.where(now, step, switched_at)
            if step in record:
                residual = recorder.record(step, F, G, product)
                if callback is not None:
                    callback(step, (F,) if symmetric else (F, G))
                done = (residual <= stop_below) & (stopped_at < 0) & (stop_below > 0)
                stopped_at = np.where(done, step, stopped_at)
                rate[done] = 0.0
                if (stopped_at >= 0).all():
                    break
            if step == steps:
                break
            R = op.normal(product) - target
            if symmetric:
                F = F - rate * ((R + np.swapaxes(R, -1, -2)) / 2 @ F)
                G = F
            else:
                F, G = F - rate * (R @ G), G - rate * (np.swapaxes(R, -1, -2) @ F)
    return FactoredDescent((F,) if symmetric else (F, G), recorder.trace(), stopped_at, switched_at)


def _switched(
    F: Float, G: Float, now: NDArray[np.bool_], residual: Float, switch: _Switch
) -> tuple[Float, Float]:
    F, G = F.copy(), G.copy()
    if switch.beta is None:
        beta = np.sqrt(estimate_sigma_r(F[now], G[now], residual[now]))
    else:
        beta = np.full(int(now.sum()), switch.beta)
    F[now], G[now] = switch.step(F[now], G[now], beta)
    return F, G


def _divergence(step: int, product: Float, eta: float) -> DivergenceError:
    finite = np.isfinite((product**2).sum((-2, -1)))
    member = np.argwhere(~finite)[0] if (~finite).any() else ()
    return DivergenceError(step, tuple(int(i) for i in member), eta)
