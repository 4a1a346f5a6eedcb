"""Structured pruning by first-order Taylor scores."""

from torch import nn

from overparam.compress.registry import compressor
from overparam.compress.structured import EXAMPLES, prune_structured
from overparam.datasets import Batches
from overparam.training import Task


@compressor("Remove the channels and attention heads that change the loss least, to first order.")
def channels_taylor(model: nn.Module, *, ratio: float, data: Batches, task: Task) -> nn.Module:
    """See :func:`overparam.compress.structured.prune_structured`."""
    inputs, _ = data.take(EXAMPLES)
    return prune_structured(
        model, inputs, ratio=ratio, importance="taylor", task=task, data=data
    ).model
