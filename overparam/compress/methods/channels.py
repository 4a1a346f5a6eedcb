"""Structured pruning by group norm."""

from torch import nn

from overparam.compress.registry import compressor
from overparam.compress.structured import EXAMPLES, prune_channels
from overparam.datasets import Batches
from overparam.training import Task


@compressor("Remove the channels and attention heads of smallest group norm.")
def channels(model: nn.Module, *, ratio: float, data: Batches, task: Task) -> nn.Module:
    """See :func:`overparam.compress.structured.prune_structured`."""
    return prune_channels(model, data.take(EXAMPLES)[0], ratio=ratio, importance="norm", task=task)
