"""Sharpness as SAM sees it: how much the loss rises a step of length rho uphill.

Reference: Foret et al., ICLR 2021, arXiv 2010.01412, equation 1; Du et al., NeurIPS 2022, arXiv
2205.14083, equation 2.
"""

import torch
from torch import nn

from overparam.measure.hessian_eigenvalues import Data, ModelLoss, checked_data, evaluated
from overparam.training.sam import ascent


def sam_sharpness(
    model: nn.Module,
    loss: ModelLoss,
    data: Data,
    rho: float = 0.05,
    *,
    adaptive: bool = False,
    subset: int | None = None,
) -> float:
    r""":math:`R = L(\theta + e) - L(\theta)` with :math:`e = \rho\, g / \|g\|`, about
    :math:`\rho \|g\|`.

    Args:
        model: runs in eval mode; weights, gradients and mode are left alone.
        loss: ``loss(model(x), y)`` to a scalar.
        data: x (N, ...) and y (N, ...).
        rho: radius > 0.
        adaptive: the step of ASAM.
        subset: at most so many samples, the first ones; None for all.

    Raises:
        ValueError: rho <= 0, data that do not fit, no parameters, a loss that is not finite.
    """
    if not 0 < rho < float("inf"):
        raise ValueError(f"rho={rho}; allowed: finite numbers > 0")
    x, y = checked_data(data, subset)
    free = {n: p.detach().requires_grad_() for n, p in model.named_parameters() if p.requires_grad}
    if not free:
        raise ValueError("model has no parameter with requires_grad=True")
    before = evaluated(model, free, loss, x, y)
    gradients = torch.autograd.grad(before, list(free.values()), materialize_grads=True)
    with torch.no_grad():
        steps = ascent(list(free.values()), gradients, rho, adaptive=adaptive)
        moved = {name: p + e for (name, p), e in zip(free.items(), steps, strict=True)}
        return float(evaluated(model, moved, loss, x, y) - before)
