"""Tucker-2 convolutions (Kim et al., ICLR 2016)."""

from torch import nn

from overparam.compress.factorise import parameter_budget
from overparam.compress.registry import compressor
from overparam.compress.tucker import tucker_model
from overparam.datasets import Batches
from overparam.training import Task

SAMPLES = 4


@compressor("Factor each convolution in three: Tucker-2 by orthogonal iteration.")
def tucker(model: nn.Module, *, ratio: float, data: Batches, task: Task) -> nn.Module:
    """At most as many parameters as the ratio leaves; see ``tucker_model``."""
    inputs, _ = data.take(SAMPLES)
    return tucker_model(
        model,
        parameters=parameter_budget(model, ratio),
        call=lambda net: task.outputs(net, inputs),
    )
