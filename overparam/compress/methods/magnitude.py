"""Global magnitude pruning (Han et al., NeurIPS 2015)."""

from torch import nn

from overparam.compress.mask_model import mask_model
from overparam.compress.masks import global_mask
from overparam.compress.registry import compressor
from overparam.compress.scores import score_mag


@compressor("Keep the largest weights of all layers together.")
def magnitude(model: nn.Module, *, ratio: float) -> nn.Module:
    """Exactly as many as the ratio leaves; see ``global_mask``."""
    return mask_model(model, ratio, lambda net, count: global_mask(score_mag(net), count=count))
