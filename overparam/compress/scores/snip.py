"""SNIP (Lee, Ajanthan & Torr, *SNIP: single-shot network pruning*, ICLR 2019)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from overparam.compress.scores.view import Loss, Scorable, scoring_mode, weight_view


def score_snip(
    model: Scorable,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss = F.cross_entropy,
    masks: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    r"""Connection sensitivity :math:`|w \, \partial L / \partial w|` on the batch (x, y).

    The gradient is that of the whole batch, taken before the absolute value, with respect to the
    effective weights mask*w. Batch norm works in the mode the model is in (its statistics are not
    updated), dropout is off.

    Args:
        model: a module, or an ensemble (x, y and the scores then start with the member axis E).
        x: inputs (B, ...).
        y: targets (B, ...).
        loss: (outputs, y) of one model to a scalar.
        masks: boolean masks by weight name; masked weights score 0.

    Returns:
        Scores by weight name, of the weights' shapes.

    Raises:
        TypeError, ValueError: the model has no compressible weight, or unknown masks.
    """
    view = weight_view(model, masks)
    weights = {name: w.clone().requires_grad_() for name, w in view.weights.items()}
    with scoring_mode(model):
        value = view.loss(weights, x, y, loss)
        gradients = torch.autograd.grad(value, list(weights.values()), materialize_grads=True)
    return {
        name: (g * w.detach()).abs()
        for (name, w), g in zip(weights.items(), gradients, strict=True)
    }
