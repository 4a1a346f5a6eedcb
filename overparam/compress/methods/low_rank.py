"""Low-rank layers by the singular value decomposition."""

from torch import nn

from overparam.compress.factorise import factorise_to_ratio
from overparam.compress.low_rank import svd_ways
from overparam.compress.registry import compressor
from overparam.datasets import Batches
from overparam.training import Task


@compressor("Factor each layer in two, ranks by kept energy over all layers: SVD.")
def low_rank(model: nn.Module, *, ratio: float, data: Batches, task: Task) -> nn.Module:
    """At most as many parameters as the ratio leaves; see ``low_rank_model``."""
    return factorise_to_ratio(model, svd_ways, ratio=ratio, data=data, task=task)
