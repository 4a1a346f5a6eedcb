"""Structured pruning at random, the baseline of the others."""

from torch import nn

from overparam.compress.registry import compressor
from overparam.compress.structured import EXAMPLES, prune_structured
from overparam.datasets import Batches
from overparam.training import Task


@compressor("Remove channels and attention heads at random.")
def channels_random(
    model: nn.Module, *, ratio: float, data: Batches, task: Task, seed: int
) -> nn.Module:
    """See :func:`overparam.compress.structured.prune_structured`."""
    inputs, _ = data.take(EXAMPLES)
    return prune_structured(
        model, inputs, ratio=ratio, importance="random", task=task, seed=seed
    ).model
