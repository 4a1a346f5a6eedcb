"""Attention heads and inner channels of the feed-forward layers, by first-order Taylor scores."""

from torch import nn

from overparam.compress.registry import compressor
from overparam.compress.structured import EXAMPLES, prune_structured
from overparam.datasets import Batches
from overparam.training import Task


@compressor("Remove attention heads and feed-forward channels that change the loss least.")
def heads(model: nn.Module, *, ratio: float, data: Batches, task: Task) -> nn.Module:
    """Widths between the blocks stay (Michel et al. 2019 for heads).

    See :func:`overparam.compress.structured.prune_structured`.
    """
    inputs, _ = data.take(EXAMPLES)
    return prune_structured(
        model, inputs, ratio=ratio, importance="taylor", task=task, data=data, only="heads"
    ).model
