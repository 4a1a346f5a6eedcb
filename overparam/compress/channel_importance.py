"""Importance of coupled channels: group norm, first-order Taylor, random."""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch_pruning as tp
from torch import Tensor, nn

from overparam.compress.layer_axes import Side, layer_axis
from overparam.datasets import Batches
from overparam.training import Task

Importance = Callable[[Any], Tensor | None]
"""Scores the channels of a torch-pruning group, in the order of its root."""
ImportanceName = Literal["norm", "taylor", "random"]


def group_norm() -> Importance:
    r"""Group norm: mean over the layers of a group of :math:`\lVert W_{k}\rVert_2^2`.

    Squared norms of row k of what writes channel k, column k of what reads it and its scale in
    norms, averaged over the layers and divided by their mean over the group's channels (Fang et
    al. 2023, section 3.3). It is torch-pruning's ``GroupMagnitudeImportance(p=2)``; a group without
    any layer that this scores (an embedding read by a recurrent layer) is scored alike by its own.
    """
    ours = _over_other_layers(lambda weight: weight.square())
    return _either(tp.importance.GroupMagnitudeImportance(p=2), ours)


def group_taylor() -> Importance:
    r"""First-order Taylor: the same means over :math:`\sum |w \, \partial L / \partial w|`.

    Molchanov et al., *Importance Estimation for Neural Network Pruning*, CVPR 2019, equation 8.
    Needs gradients: :func:`put_gradients`. It is torch-pruning's ``GroupTaylorImportance``, with
    the same addition as :func:`group_norm`.
    """
    ours = _over_other_layers(_first_order)
    return _either(tp.importance.GroupTaylorImportance(), ours)


def _first_order(weight: Tensor) -> Tensor:
    slope = torch.zeros_like(weight) if weight.grad is None else weight.grad
    return (weight * slope).abs()


def _either(theirs: Importance, ours: Importance) -> Importance:
    def score(group: Any) -> Tensor | None:
        values = theirs(group)
        return ours(group) if values is None else values

    return score


@torch.no_grad()
def _sums(layer: nn.Module, side: Side, of: Callable[[Tensor], Tensor]) -> Tensor | None:
    weights = [
        of(layer.get_parameter(entry.tensor)).transpose(0, entry.dim).flatten(1).sum(1)
        for entry in layer_axis(layer, side).tensors
        if not entry.tensor.startswith("bias")
    ]
    return torch.stack(weights).sum(0) if weights else None


def _over_other_layers(of: Callable[[Tensor], Tensor]) -> Importance:
    def score(group: Any) -> Tensor | None:
        found = []
        total = torch.zeros(len(group[0].idxs))
        for item in group:
            layer = item.dep.target.module
            if not isinstance(layer, nn.Embedding | nn.RNNBase):
                continue
            sums = _sums(layer, "in" if isinstance(layer, nn.RNNBase) else "out", of)
            if sums is None:
                continue
            total.index_add_(0, torch.tensor(item.root_idxs), sums[item.idxs].detach().cpu())
            found.append(layer)
        return total / total.mean() if found else None

    return score


def random_importance(seed: int) -> Importance:
    """Uniform in [0, 1), a new draw for each group in turn."""
    generator = torch.Generator().manual_seed(seed)

    def score(group: Any) -> Tensor:
        return torch.rand(len(group[0].idxs), generator=generator)

    return score


def put_gradients(
    model: nn.Module, data: Batches, task: Task, *, samples: int = 1024, batch: int = 64
) -> None:
    """Leave the gradient of the mean loss over the first samples in ``grad``, in eval mode.

    Args:
        model: gets gradients; its mode is eval afterwards.
        data: training samples.
        task: the loss.
        samples: at most this many.
        batch: how many at a time; the result does not depend on it.

    Raises:
        ValueError: a gradient is not finite.
    """
    model.eval()
    model.zero_grad(set_to_none=True)
    total = min(len(data), samples)
    seen = 0
    with torch.enable_grad():
        for inputs, targets in data.batches(batch):
            share = len(targets)
            loss = task.loss_of(model, inputs, targets) * (share / total)
            torch.autograd.backward(loss)
            seen += share
            if seen >= total:
                break
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        else:
            parameter.grad *= total / seen
        if not bool(parameter.grad.isfinite().all()):
            raise ValueError(f"the gradient of {name!r} is not finite")
