"""Outputs of a model for all samples."""

import torch
from torch import Tensor, nn

from overparam.datasets import Batches
from overparam.training.evaluating import evaluating
from overparam.training.task import Task

BATCH = 256


@torch.no_grad()
def all_outputs(
    model: nn.Module, data: Batches, task: Task, *, batch: int = BATCH
) -> tuple[Tensor, Tensor]:
    """Outputs and targets of all samples in their order, in eval mode; the mode is put back.

    Both in the units of the targets.

    Returns:
        Outputs (N, C), or (N,) or (N, k); and targets (N, ...).
    """
    with evaluating(model):
        pairs = [(task.values(task.outputs(model, x)), y) for x, y in data.batches(batch)]
    outputs, targets = zip(*pairs, strict=True)
    return torch.cat(outputs), torch.cat(targets)
