r"""Will a shared model train at this learning rate? Predicted before the first step.

A gradient step on z with rate eta moves the virtual weights by
:math:`-\eta P \Gamma^{-1} P^T \nabla_w L`, P the n x m matrix of factors :math:`\lambda g`. Its
columns do not overlap, so :math:`P \Gamma^{-1} P^T` has the eigenvalues
:math:`A_k = \sum_{i \to k} \lambda_i^2 / \Gamma_k` (and 0): the sharing multiplies the learning
rate on w by up to :math:`A_k`. A dense net under (heavy-ball) descent is stable while
:math:`\eta \, \lambda_{max}(H) < 2 (1 + \mu)`.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

import torch
from torch import Tensor

from overparam.compress.shared_model import SharedModel

Verdict = Literal["diverges", "stable", "frozen"]


@dataclass(frozen=True)
class StabilityAdvice:
    """Prediction of :func:`stability_advice`.

    Attributes:
        verdict: ``"diverges"``, ``"stable"`` or ``"frozen"``.
        amplification: mean of A over the virtual weights, the factor on the learning rate of w.
        amplification_range: smallest and largest A over used buckets.
        effective_lr: learning rate that w sees, lr * amplification.
        suggested_lr: learning rate under which w would see ``lr`` itself.
    """

    verdict: Verdict
    amplification: float
    amplification_range: tuple[float, float]
    effective_lr: float
    suggested_lr: float


def amplification(idx: Tensor, lam: Tensor | float, gamma: Tensor) -> Tensor:
    r"""Factor on the learning rate of w, :math:`A_k = \sum_{i \to k} \lambda_i^2 / \Gamma_k`.

    Args:
        idx: bucket of each virtual weight, integer (n,).
        lam: scale of each virtual weight (n,), or one number.
        gamma: divisor of the gradient per bucket (m,), ones without gradient scaling.
    """
    squares = (
        torch.as_tensor(lam, dtype=torch.float64, device=idx.device).expand(idx.shape).square()
    )
    total = torch.zeros(gamma.shape, dtype=torch.float64, device=idx.device)
    return total.index_add_(0, idx.long(), squares) / gamma.double()


def stability_advice(
    model: SharedModel,
    lr: float,
    *,
    momentum: float = 0.0,
    sharpness: float | None = None,
    headroom: float = 3.0,
    frozen_below: float = 0.1,
    scaled: bool = True,
) -> StabilityAdvice:
    r"""Predict from (lambda, count, lr) whether training the shared model diverges or stands still.

    Args:
        model: a model from ``share_parameters``.
        lr: learning rate of the optimiser of z (SGD).
        momentum: heavy-ball momentum mu in [0, 1).
        sharpness: largest Hessian eigenvalue of the dense net, when known: the bound is then
            :math:`2 (1 + \mu) /` sharpness.
        headroom: without sharpness, how many times ``lr`` the dense net would bear.
        frozen_below: amplification under which w hardly moves.
        scaled: whether the gradient scaling is attached to the optimiser.

    Returns:
        The prediction. ``"diverges"`` when the mean amplification, that of the loaded buckets,
        carries the learning rate over the bound.

    Raises:
        ValueError: lr, sharpness or headroom not positive, momentum outside [0, 1).
        TypeError: ``model`` is not a shared model.
    """
    if not isinstance(model, SharedModel):
        raise TypeError(f"model must be a SharedModel, got {type(model).__name__}")
    for name, value in (("lr", lr), ("headroom", headroom), ("sharpness", sharpness)):
        if value is not None and not (isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}; allowed are finite numbers > 0")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum is {momentum}; allowed 0 <= momentum < 1")
    tensors = range(len(model.slots))
    index = torch.cat([model.bucket_index(t) for t in tensors])
    lam = torch.cat([model.signed_scale(t) for t in tensors]).abs()
    gamma = model.grad_scale if scaled else torch.ones_like(model.grad_scale)
    factors = amplification(index, lam, gamma)
    used = factors[index.bincount(minlength=len(factors)) > 0]
    mean = float(factors[index].mean())
    bound = headroom * lr if sharpness is None else 2 * (1 + momentum) / sharpness
    verdict: Verdict = "stable"
    if lr * mean > bound:
        verdict = "diverges"
    elif mean < frozen_below:
        verdict = "frozen"
    return StabilityAdvice(
        verdict, mean, (float(used.min()), float(used.max())), lr * mean, lr / mean
    )
