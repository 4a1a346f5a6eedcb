"""Random pruning: the negative control."""

from torch import nn

from overparam.compress.mask_model import mask_model
from overparam.compress.masks import global_mask
from overparam.compress.registry import compressor
from overparam.compress.scores import score_random


@compressor("Keep weights at random, over all layers together.")
def random(model: nn.Module, *, ratio: float, seed: int) -> nn.Module:
    """Exactly as many as the ratio leaves; see ``score_random``."""
    return mask_model(
        model, ratio, lambda net, count: global_mask(score_random(net, seed=seed), count=count)
    )
