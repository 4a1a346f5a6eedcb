"""Low-rank layers by the singular value decomposition."""

from torch import nn

from overparam.compress.factorise import parameter_budget
from overparam.compress.low_rank import low_rank_model
from overparam.compress.registry import compressor
from overparam.datasets import Batches
from overparam.training import Task

SAMPLES = 4


@compressor("Factor each layer in two, ranks by kept energy over all layers: SVD.")
def low_rank(model: nn.Module, *, ratio: float, data: Batches, task: Task) -> nn.Module:
    """At most as many parameters as the ratio leaves; see ``low_rank_model``."""
    inputs, _ = data.take(SAMPLES)
    return low_rank_model(
        model,
        parameters=parameter_budget(model, ratio),
        call=lambda net: task.outputs(net, inputs),
    )
