"""Structured pruning by group norm."""

from torch import nn

from overparam.compress.registry import compressor
from overparam.compress.structured import EXAMPLES, prune_structured
from overparam.datasets import Batches
from overparam.training import Task


@compressor("Remove the channels and attention heads of smallest group norm.")
def channels(model: nn.Module, *, ratio: float, data: Batches, task: Task) -> nn.Module:
    """See :func:`overparam.compress.structured.prune_structured`."""
    inputs, _ = data.take(EXAMPLES)
    return prune_structured(model, inputs, ratio=ratio, importance="norm", task=task).model
