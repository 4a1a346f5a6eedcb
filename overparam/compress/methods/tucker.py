"""Tucker-2 convolutions (Kim et al., ICLR 2016)."""

from torch import nn

from overparam.compress.factorise import factorise_to_ratio
from overparam.compress.registry import compressor
from overparam.compress.tucker import tucker_ways
from overparam.datasets import Batches
from overparam.training import Task


@compressor("Factor each convolution in three: Tucker-2 by orthogonal iteration.")
def tucker(model: nn.Module, *, ratio: float, data: Batches, task: Task) -> nn.Module:
    """At most as many parameters as the ratio leaves; see ``tucker_model``."""
    return factorise_to_ratio(model, tucker_ways, ratio=ratio, data=data, task=task)
