"""Watches the training of a two-factor model for the 1/T^2 regime of balanced factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overparam.measure.decay import DecayFit, fit_decay
from overparam.training.balance_break import balance_break_step, estimate_sigma_r

__all__ = ["FactorAdvice", "FactorMonitor"]


@dataclass(frozen=True)
class FactorAdvice:
    """What a :class:`FactorMonitor` saw.

    Attributes:
        sublinear: the loss falls like a power of t, slope at most -1, and the smallest singular
            value of both factors is small against the scale a re-balanced F would have.
        decay: the fits behind it.
        sigma_min_F, sigma_min_G: smallest singular values of the last factors.
        beta: scale to give to :func:`overparam.training.balance_break_step`.
    """

    sublinear: bool
    decay: DecayFit
    sigma_min_F: float
    sigma_min_G: float
    beta: float


class FactorMonitor:
    """Collects the loss of any model with a product F G^T in it and advises on its balance.

    A squared error that falls like 1/t^2 while F and G share a weak direction is the regime of
    Xiong, Ding and Du, arXiv 2310.01769, Theorem 1: over-parameterised and (nearly) balanced.
    One balance-breaking step leaves F G^T as it is and makes the decay exponential.

    Args:
        excess_over: loss value that cannot be undercut (0 where the model can fit exactly).
        floor: loss minus ``excess_over`` at or below this is rounding.
        weak: sigma_min below ``weak`` times beta counts as a weak direction.

    Example, a LoRA pair ``delta = B @ A`` in torch::

        monitor.observe(step, loss.item(), B.detach().numpy(), A.detach().numpy().T)
        if monitor.advice().sublinear:
            F, G = monitor.rebalanced()
            B.data, A.data = torch.from_numpy(F), torch.from_numpy(G.T.copy())
    """

    def __init__(self, excess_over: float = 0.0, floor: float = 1e-24, weak: float = 0.5) -> None:
        if not np.isfinite(excess_over):
            raise ValueError(f"excess_over must be finite, got {excess_over}")
        if not 0 < weak <= 1:
            raise ValueError(f"weak must be in (0, 1], got {weak}")
        self._excess_over, self._floor, self._weak = excess_over, floor, weak
        self._steps: list[int] = []
        self._losses: list[float] = []
        self._factors: tuple[NDArray[Any], NDArray[Any]] | None = None

    def observe(self, step: int, loss: float, F: ArrayLike, G: ArrayLike) -> None:
        """Note the loss at a step, and the factors F (n1, k) and G (n2, k) of that moment.

        Raises:
            ValueError: for a step not after the last one, a loss that is not finite or below
                ``excess_over``, or factors that do not fit.
        """
        if self._steps and step <= self._steps[-1]:
            raise ValueError(f"step must exceed {self._steps[-1]}, got {step}")
        if not np.isfinite(loss) or loss < self._excess_over:
            raise ValueError(f"loss must be finite and >= {self._excess_over}, got {loss}")
        left, right = np.array(F), np.array(G)
        if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
            raise ValueError(f"F, G must be (n1, k), (n2, k), got {left.shape}, {right.shape}")
        self._steps.append(step)
        self._losses.append(loss - self._excess_over)
        self._factors = left, right

    def advice(self) -> FactorAdvice:
        """Judge what was observed.

        Raises:
            ValueError: if fewer than three observations lie in the tail of the decay.
        """
        decay = fit_decay(self._steps, self._losses, self._floor)
        F, G = self._last()
        beta = float(np.sqrt(estimate_sigma_r(F, G)))
        weakest = [float(np.linalg.svd(factor, compute_uv=False)[-1]) for factor in (F, G)]
        slow = decay.law == "power" and decay.powerlaw_slope <= -1
        sublinear = slow and max(weakest) < self._weak * beta
        return FactorAdvice(sublinear, decay, weakest[0], weakest[1], beta)

    def rebalanced(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The last factors after :func:`balance_break_step` at the advised beta.

        Forgets what was observed, since the decay starts anew.
        """
        F, G = self._last()
        beta = np.sqrt(estimate_sigma_r(F, G))
        self._steps, self._losses, self._factors = [], [], None
        return balance_break_step(F, G, beta)

    def _last(self) -> tuple[NDArray[Any], NDArray[Any]]:
        if self._factors is None:
            raise ValueError("nothing was observed yet")
        return self._factors
