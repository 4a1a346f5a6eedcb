"""GraSP (Wang, Zhang & Grosse, *Picking winning tickets before training*, ICLR 2020)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from overparam.compress.scores.view import Loss, Scorable, scoring_mode, weight_view


def score_grasp(
    model: Scorable,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss = F.cross_entropy,
    temperature: float = 200.0,
    masks: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    r"""Gradient-flow score :math:`w \, (H g)`, the largest kept.

    To first order, removing a weight changes the squared gradient norm by :math:`-2 w (H g)`: the
    score is :math:`\tfrac12 \, \partial \|g\|^2 / \partial \mathrm{mask}` at mask = 1. g and H are
    the gradient and Hessian of L(outputs / temperature) with respect to all compressible weights;
    Hg comes from two backward passes, no Hessian is built.

    Args:
        model: a module, or an ensemble (x, y and the scores then start with the member axis E).
        x: inputs (B, ...).
        y: targets (B, ...).
        loss: (outputs, y) of one model to a scalar.
        temperature: divisor of the outputs, 200 in the paper's code.
        masks: boolean masks by weight name; masked weights score 0 and leave g.

    Returns:
        Signed scores by weight name, of the weights' shapes.

    Raises:
        ValueError: temperature <= 0.
        TypeError, ValueError: the model has no compressible weight, or unknown masks.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; allowed > 0")
    view = weight_view(model, masks)
    weights = {name: w.clone().requires_grad_() for name, w in view.weights.items()}
    leaves = list(weights.values())

    def tempered(outputs: Tensor, targets: Tensor) -> Tensor:
        return loss(outputs / temperature, targets)

    with scoring_mode(model):
        value = view.loss(weights, x, y, tempered)
        gradients = torch.autograd.grad(value, leaves, create_graph=True, materialize_grads=True)
        gradients = tuple(
            torch.where(view.masks[name], g, 0.0) if name in view.masks else g
            for name, g in zip(weights, gradients, strict=True)
        )
        flow = 0.5 * torch.stack([g.square().sum() for g in gradients]).sum()
        products = torch.autograd.grad(flow, leaves, materialize_grads=True)
    return {name: hg * w.detach() for (name, w), hg in zip(weights.items(), products, strict=True)}
